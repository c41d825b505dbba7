//! Evaluates the setting that was picked for a budget on documents that did not help to pick it.
//!
//! The documents are split into random halves many times. A setting is picked on one half, like in
//! [`Results::within`](crate::results::Results::within), and evaluated on the other.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::pareto::{Choice, within_budget};
use crate::statistics::{mean, quantile};
use crate::sweep::Samples;

/// Number of splits, enough for shares to a percent.
const HALVINGS: usize = 200;
/// Smallest number of documents with a reference. Halves of fewer documents mean little.
const MIN_DOCUMENTS: usize = 10;

/// Results of the picks on the other halves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holdout {
    /// Number of splits in which a setting met the budget, so that one was picked.
    pub picks: usize,
    /// Share of the picks that kept the budget on the other half.
    pub kept: f64,
    /// Mean excess of the 90th latency percentile over the budget, as a fraction, for picks that
    /// did not keep it.
    pub overrun: f64,
    /// Share of the picks that were the best setting within the budget on the other half, or within
    /// half a point of its ROUGE-L.
    pub best: f64,
    /// Mean ROUGE-L (0 to 1) that the picks lost to the best setting of the other half.
    pub lost: f64,
}

/// Latency and ROUGE-L of one document at each setting.
type Row = Vec<Vec<(f64, f64)>>;

/// Evaluates the choice for a budget. `None` if there are too few references, or nothing was
/// picked.
pub fn holdout(samples: &Samples, settings: usize, budget_ms: f64) -> Option<Holdout> {
    let mut rows: BTreeMap<usize, Row> = BTreeMap::new();
    for sample in &samples.list {
        if let Some(rouge) = sample.rouge {
            let row = rows.entry(sample.row).or_insert_with(|| vec![Vec::new(); settings]);
            row[sample.setting].push((sample.milliseconds.total(), rouge.rouge_l));
        }
    }
    // A document that was not summarized at all settings would favour some of them.
    let mut rows: Vec<Row> =
        rows.into_values().filter(|row| row.iter().all(|made| !made.is_empty())).collect();
    if rows.len() < MIN_DOCUMENTS {
        return None;
    }
    let mut random = Rng::with_seed(0);
    let (mut kept, mut overruns, mut best, mut lost) = (0, Vec::new(), 0, Vec::new());
    for _ in 0..HALVINGS {
        random.shuffle(&mut rows);
        let (choose, check) = rows.split_at(rows.len() / 2);
        let Some(pick) = within_budget(&choices(choose, settings), budget_ms) else { continue };
        let others = choices(check, settings);
        let picked = others[pick];
        if picked.latency <= budget_ms {
            kept += 1;
        } else {
            overruns.push(picked.latency / budget_ms - 1.0);
        }
        let better = within_budget(&others, budget_ms).map_or(0.0, |best| others[best].quality);
        let loss = (better - picked.quality).max(0.0);
        best += usize::from(loss <= 0.005);
        lost.push(loss);
    }
    let picks = lost.len();
    (picks > 0).then(|| Holdout {
        picks,
        kept: f64::from(kept) / picks as f64,
        overrun: if overruns.is_empty() { 0.0 } else { mean(&overruns) },
        best: best as f64 / picks as f64,
        lost: mean(&lost),
    })
}

fn choices(rows: &[Row], settings: usize) -> Vec<Choice> {
    (0..settings)
        .map(|setting| {
            let made = rows.iter().flat_map(|row| &row[setting]);
            let (latency, quality): (Vec<f64>, Vec<f64>) = made.copied().unzip();
            Choice { latency: quantile(&latency, 0.9), quality: mean(&quality) }
        })
        .collect()
}

impl Holdout {
    /// The result in a sentence.
    pub fn sentence(&self) -> String {
        format!(
            "Picked on one half of the documents and tried on the other, {} times: the budget was \
             kept in {:.0}%{}, and the pick was within 0.5 ROUGE-L of the best in {:.0}%",
            self.picks,
            100.0 * self.kept,
            match self.overrun > 0.0 {
                true => format!(" (else exceeded by {:.0}%)", 100.0 * self.overrun),
                false => String::new(),
            },
            100.0 * self.best
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rouge::Rouge;
    use crate::sweep::{Milliseconds, Sample};

    /// Forty documents at two settings. The second setting is slower and better.
    fn samples(slow: impl Fn(usize) -> f64, better: impl Fn(usize) -> f64) -> Samples {
        let sample = |row, setting, decode, rouge_l| Sample {
            row,
            setting,
            milliseconds: Milliseconds { decode, ..Default::default() },
            input_tokens: 1,
            truncated: false,
            steps: 1,
            tokens: 1,
            summary: String::new(),
            rouge: Some(Rouge { rouge1: rouge_l, rouge2: rouge_l, rouge_l }),
        };
        let list = (1..=40)
            .flat_map(|row| [sample(row, 0, 10.0, 0.3), sample(row, 1, slow(row), better(row))])
            .collect();
        Samples { list, interrupted: false }
    }

    #[test]
    fn a_sure_choice_is_right_every_time() {
        let found = holdout(&samples(|_| 20.0, |_| 0.4), 2, 25.0).expect("picks");
        assert_eq!((found.picks, found.kept, found.best, found.lost), (200, 1.0, 1.0, 0.0));
        assert_eq!(found.overrun, 0.0);
        assert!(found.sentence().contains("kept in 100%, and"), "{}", found.sentence());
        assert_eq!(holdout(&samples(|_| 20.0, |_| 0.4), 2, 5.0), None);
    }

    #[test]
    fn a_budget_at_the_border_is_kept_half_the_time() {
        let latency = |row| 15.0 + row as f64 / 4.0;
        let found = holdout(&samples(latency, |_| 0.4), 2, 24.0).expect("picks");
        assert!((0.3..0.9).contains(&found.kept), "{found:?}");
        assert!(found.overrun > 0.0 && found.overrun < 0.1, "{found:?}");
    }

    #[test]
    fn few_documents_say_nothing() {
        let mut few = samples(|_| 20.0, |_| 0.4);
        few.list.truncate(2 * (MIN_DOCUMENTS - 1));
        assert_eq!(holdout(&few, 2, 25.0), None);
    }
}
