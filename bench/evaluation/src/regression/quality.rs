//! Tests whether a new model's summaries are worse, by ROUGE-L over the same documents.

use serde::{Deserialize, Serialize};

use super::decision::Outcome;
use crate::results::{FEW_DOCUMENTS, Results};
use crate::statistics::{mean, mean_quantiles};

/// Share of unchanged models that are called worse.
const FALSE_ALARM_RATE: f64 = 0.001;

/// ROUGE-L of two models over the same documents: means over all settings, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Number of documents with a reference summary.
    pub documents: usize,
    /// ROUGE-L of the old model.
    pub old: f64,
    /// ROUGE-L of the new model.
    pub new: f64,
    /// The 95% interval of the difference, by a paired bootstrap over the documents.
    pub interval: [f64; 2],
    /// Outcome: whether the loss exceeds the tolerance.
    pub outcome: Outcome,
}

impl Quality {
    /// Compares results over the same documents. `None` without references.
    ///
    /// A model is worse if it lost more than the tolerated share of the old model's ROUGE-L, and
    /// the bootstrap says that chance does this once in a thousand times.
    pub(super) fn of(old: &Results, new: &Results, tolerance: f64) -> Option<Self> {
        let pairs: Vec<(f64, f64)> = old
            .by_document
            .iter()
            .filter_map(|old| {
                let new = new.by_document.iter().find(|new| new.row == old.row)?;
                Some((old.rouge_l, new.rouge_l))
            })
            .collect();
        if pairs.is_empty() {
            return None;
        }
        let (old, new): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let gains: Vec<f64> = pairs.iter().map(|(old, new)| new - old).collect();
        let [low, high, most] = mean_quantiles(&gains, [0.025, 0.975, 1.0 - FALSE_ALARM_RATE]);
        let (old, new) = (mean(&old), mean(&new));
        let worse = old - new > tolerance * old && most < 0.0;
        Some(Self {
            documents: pairs.len(),
            old,
            new,
            interval: [low, high],
            outcome: if worse { Outcome::Worse } else { Outcome::Kept },
        })
    }

    /// The comparison as a phrase.
    pub(super) fn sentence(&self) -> String {
        let points = |score: f64| 100.0 * score;
        let few = match self.documents < FEW_DOCUMENTS {
            true => format!(", of only {} documents", self.documents),
            false => String::new(),
        };
        // Adding 0 turns -0 into 0.
        let signed = |score: f64| format!("{:+.1}", (1e3 * score).round() / 10.0 + 0.0);
        format!(
            "ROUGE-L {:.1} after {:.1} ({}, 95% interval {} to {}{few})",
            points(self.new),
            points(self.old),
            signed(self.new - self.old),
            signed(self.interval[0]),
            signed(self.interval[1]),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::DocumentRecord;
    use crate::results::tests::results;

    fn quality(documents: usize, change: impl Fn(usize) -> f64) -> Quality {
        let of = |change: &dyn Fn(usize) -> f64| {
            let record =
                |row| DocumentRecord { row, rouge_l: 0.4 + 0.01 * (row % 7) as f64 + change(row) };
            Results { by_document: (1..=documents).map(record).collect(), ..results(true) }
        };
        Quality::of(&of(&|_| 0.0), &of(&change), 0.03).expect("references")
    }

    #[test]
    fn what_loses_more_than_is_tolerated_is_worse() {
        assert_eq!(quality(50, |_| 0.0).outcome, Outcome::Kept);
        assert_eq!(quality(50, |_| -0.01).outcome, Outcome::Kept);
        let worse = quality(50, |row| -0.02 - 0.001 * (row % 3) as f64);
        assert_eq!(worse.outcome, Outcome::Worse);
        assert!(worse.interval[1] < 0.0);
        // A loss in a single document is chance.
        assert_eq!(quality(12, |row| if row == 3 { -0.4 } else { 0.0 }).outcome, Outcome::Kept);
        assert_eq!(quality(50, |_| 0.1).outcome, Outcome::Kept);
    }

    #[test]
    fn few_documents_are_told() {
        let sentence = quality(5, |_| 0.0).sentence();
        assert_eq!(
            sentence,
            "ROUGE-L 43.0 after 43.0 (+0.0, 95% interval +0.0 to +0.0, of only 5 documents)"
        );
        assert!(!quality(40, |_| 0.0).sentence().contains("only"));
    }

    #[test]
    fn without_references_there_is_no_quality() {
        let mut none = results(false);
        none.by_document.clear();
        assert_eq!(Quality::of(&none, &none, 0.03), None);
    }
}
