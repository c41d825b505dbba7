//! ROUGE: the overlap of a summary with a reference summary in words, word pairs and the longest
//! common subsequence.
//!
//! The scores are those of Google's `rouge-score` 0.1.2 with its stemmer, which the literature
//! reports. `fixtures/goldens/rouge.jsonl` holds that package's figures, and a test compares.

use rougers::{RougeScorer, RougeType};
use serde::{Deserialize, Serialize};

/// F-measures from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rouge {
    /// ROUGE-1: words.
    pub rouge1: f64,
    /// ROUGE-2: pairs of words.
    pub rouge2: f64,
    /// ROUGE-L: the longest common subsequence of words.
    #[serde(rename = "rougeL")]
    pub rouge_l: f64,
}

impl Rouge {
    /// The mean; `None` if there are no scores.
    pub fn mean(scores: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut sum = Self::default();
        let mut count = 0.0;
        for score in scores {
            sum.rouge1 += score.rouge1;
            sum.rouge2 += score.rouge2;
            sum.rouge_l += score.rouge_l;
            count += 1.0;
        }
        (count > 0.0).then(|| Self {
            rouge1: sum.rouge1 / count,
            rouge2: sum.rouge2 / count,
            rouge_l: sum.rouge_l / count,
        })
    }
}

/// Scores summaries.
pub struct Scorer {
    inner: RougeScorer,
}

impl Default for Scorer {
    fn default() -> Self {
        let inner = RougeScorer::new(["rouge1", "rouge2", "rougeL"], true);
        Self { inner: inner.expect("known measures") }
    }
}

impl Scorer {
    /// Scores a prediction against its reference.
    pub fn score(&self, reference: &str, prediction: &str) -> Rouge {
        let scores = self.inner.score(reference, prediction);
        let measure = |kind| scores.get(kind).map_or(0.0, |score| score.fmeasure);
        Rouge {
            rouge1: measure(RougeType::N(1)),
            rouge2: measure(RougeType::N(2)),
            rouge_l: measure(RougeType::L),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use serde_json::Value;

    use super::*;
    use crate::data::Dataset;

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
    }

    #[test]
    fn scores_are_those_of_the_reference() {
        let data =
            Dataset::read(&fixtures().join("summaries/validation-1000.csv"), None).expect("data");
        let goldens = fixtures().join("goldens/rouge.jsonl");
        let text = fs::read_to_string(goldens).expect("goldens");
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let words = lines.next().expect("a header")["words"].as_u64().expect("words") as usize;
        let scorer = Scorer::default();
        let mut compared = 0;
        for golden in lines {
            let (reference, prediction) = match golden["row"].as_u64() {
                Some(row) => {
                    let document = &data.documents[row as usize];
                    let start: Vec<_> = document.text.split_whitespace().take(words).collect();
                    (document.summary.clone().expect("a summary"), start.join(" "))
                }
                None => {
                    let text = |name: &str| golden[name].as_str().expect("a text").to_owned();
                    (text("reference"), text("prediction"))
                }
            };
            let score = scorer.score(&reference, &prediction);
            for (name, ours) in
                [("rouge1", score.rouge1), ("rouge2", score.rouge2), ("rougeL", score.rouge_l)]
            {
                let theirs = golden[name][2].as_f64().expect("a number");
                assert!(
                    (ours - theirs).abs() < 1e-12,
                    "{name} of {reference:?} and {prediction:?}: {ours}, not {theirs}"
                );
            }
            compared += 1;
        }
        assert!(compared > 200, "only {compared} goldens");
    }

    #[test]
    fn a_mean_is_over_what_is_there() {
        let half = Rouge { rouge1: 0.5, rouge2: 0.0, rouge_l: 1.0 };
        let mean = Rouge::mean([half, Rouge::default()]).expect("two");
        assert_eq!((mean.rouge1, mean.rouge_l), (0.25, 0.5));
        assert_eq!(Rouge::mean([]), None);
    }
}
