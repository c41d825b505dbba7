//! The record of a comparison, which `epitome compare --format json` prints.

use epitome_runtime::bundle::Bundle;
use serde::{Deserialize, Serialize};

use super::{Comparison, DefaultDifference, LogitError, Made, same_vocabulary};
use crate::machine::{Machine, Versions};
use crate::rouge::Rouge;
use crate::statistics::{Spread, mean, mean_interval};

/// The record of a comparison. In pairs, A comes first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparisonRecord {
    /// The bundles.
    pub bundles: [BundleRecord; 2],
    /// Generation defaults in which the bundles differ.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub default_differences: Vec<DefaultDifference>,
    /// Number of documents that were compared.
    pub documents: usize,
    /// Number of documents with a reference summary.
    pub references: usize,
    /// Number of documents that are longer than the window of one of the models, and were
    /// truncated.
    pub truncated: usize,
    /// Quality against the references; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rouge: Option<RougeRecord>,
    /// Agreement of the summaries; absent if the bundles have different vocabularies.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agreement: Option<Agreement>,
    /// Differences of the logits; absent if the bundles have different vocabularies.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub logits: Option<LogitRecord>,
    /// Milliseconds to summarize one document alone.
    pub latency_ms: [Spread; 2],
    /// Mean tokens of a summary, the end token included.
    pub tokens: [f64; 2],
    /// The machine.
    pub machine: Machine,
    /// The program versions.
    pub versions: Versions,
    /// Whether the user ended the comparison early.
    pub interrupted: bool,
}

/// A bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleRecord {
    /// Folder of the bundle.
    pub path: String,
    /// Checkpoint that it was exported from.
    pub source: String,
    /// `model_type`
    pub architecture: String,
    /// Precision of the weights.
    pub precision: String,
    /// Size of all files in bytes.
    pub bytes: u64,
}

/// ROUGE of both bundles, and the difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RougeRecord {
    /// Mean F-measures, 0 to 1.
    pub means: [Rouge; 2],
    /// B minus A.
    pub difference: RougeDifference,
}

/// Differences of F-measures, with 95% intervals of a paired bootstrap over the documents.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RougeDifference {
    /// ROUGE-1.
    pub rouge1: Interval,
    /// ROUGE-2.
    pub rouge2: Interval,
    /// ROUGE-L.
    #[serde(rename = "rougeL")]
    pub rouge_l: Interval,
}

/// A mean with its 95% confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Agreement of the summaries' token ids.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Share of documents with equal token ids.
    pub equal: f64,
    /// Mean number of tokens before the first difference, without the decoder start.
    pub common_prefix: f64,
}

/// Differences of the logits along A's summaries.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogitRecord {
    /// Largest absolute difference in the first step.
    pub first_step_max: f64,
    /// Mean absolute difference in the first step.
    pub first_step_mean: f64,
    /// Largest absolute difference in any step.
    pub max: f64,
    /// Mean absolute difference over all steps.
    pub mean: f64,
    /// Number of steps.
    pub steps: usize,
    /// Share of steps in which both have the same most likely token.
    pub same_choice: f64,
}

impl ComparisonRecord {
    /// Creates the record of a comparison of these two bundles.
    pub fn new(bundles: [&Bundle; 2], found: &Comparison) -> Self {
        let pairs = &found.pairs;
        let each = |figure: fn(&Made) -> f64| {
            [0, 1].map(|index| -> Vec<f64> {
                let made = pairs.iter().map(|pair| &pair.made[index]);
                made.map(figure).collect()
            })
        };
        let scores: Vec<[Rouge; 2]> = pairs
            .iter()
            .filter_map(|pair| Some([pair.made[0].rouge?, pair.made[1].rouge?]))
            .collect();
        let truncated = |made: &Made| made.truncated;
        Self {
            bundles: bundles.map(BundleRecord::of),
            default_differences: Vec::new(),
            documents: pairs.len(),
            references: scores.len(),
            truncated: pairs.iter().filter(|pair| pair.made.iter().any(truncated)).count(),
            rouge: RougeRecord::of(&scores),
            agreement: same_vocabulary(bundles[0], bundles[1]).then(|| Agreement::of(found)),
            logits: pairs
                .iter()
                .filter_map(|pair| pair.logits)
                .reduce(LogitError::and)
                .map(LogitRecord::from),
            latency_ms: each(|made| made.milliseconds.total()).map(|all| Spread::of(&all)),
            tokens: each(|made| made.token_ids.len().saturating_sub(1) as f64)
                .map(|all| mean(&all)),
            machine: Machine::this(),
            versions: Versions::current(),
            interrupted: found.interrupted,
        }
    }
}

impl BundleRecord {
    fn of(bundle: &Bundle) -> Self {
        let manifest = bundle.manifest();
        Self {
            path: bundle.root().display().to_string(),
            source: manifest.source.name.clone(),
            architecture: manifest.architecture.clone(),
            precision: manifest.precision.to_string(),
            bytes: manifest.files.values().map(|file| file.bytes).sum(),
        }
    }
}

impl RougeRecord {
    fn of(scores: &[[Rouge; 2]]) -> Option<Self> {
        let of = |index: usize| Rouge::mean(scores.iter().map(|pair| pair[index]));
        let difference = |measure: fn(&Rouge) -> f64| {
            let gains: Vec<f64> = scores.iter().map(|[a, b]| measure(b) - measure(a)).collect();
            let [low, high] = mean_interval(&gains);
            Interval { mean: mean(&gains), low, high }
        };
        Some(Self {
            means: [of(0)?, of(1)?],
            difference: RougeDifference {
                rouge1: difference(|rouge| rouge.rouge1),
                rouge2: difference(|rouge| rouge.rouge2),
                rouge_l: difference(|rouge| rouge.rouge_l),
            },
        })
    }
}

impl Agreement {
    fn of(found: &Comparison) -> Self {
        let ids = found.pairs.iter().map(|pair| {
            let [a, b] = &pair.made;
            (&a.token_ids, &b.token_ids)
        });
        let common: Vec<f64> = ids
            .clone()
            .map(|(a, b)| {
                let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
                same.saturating_sub(1) as f64
            })
            .collect();
        let equal: Vec<f64> = ids.map(|(a, b)| f64::from(u8::from(a == b))).collect();
        Self { equal: mean(&equal), common_prefix: mean(&common) }
    }
}

impl From<LogitError> for LogitRecord {
    fn from(error: LogitError) -> Self {
        Self {
            first_step_max: error.first_step.max,
            first_step_mean: error.first_step.mean(),
            max: error.all_steps.max,
            mean: error.all_steps.mean(),
            steps: error.steps,
            same_choice: error.same_choice as f64 / error.steps.max(1) as f64,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::compare::Pair;
    use crate::sweep::Milliseconds;

    /// A record of two documents. B is twice as fast, and a little worse on the second.
    pub(in crate::compare) fn record(references: bool, one_vocabulary: bool) -> ComparisonRecord {
        let made = |ids: &[u32], decode: f64, score: f64| Made {
            token_ids: ids.to_vec(),
            milliseconds: Milliseconds { tokenize: 0.5, encode: 1.5, decode },
            truncated: false,
            rouge: references.then_some(Rouge { rouge1: score, rouge2: score, rouge_l: score }),
        };
        let pair = |a, b| Pair { made: [a, b], logits: None };
        let found = Comparison {
            pairs: vec![
                pair(made(&[0, 5, 6, 1], 8.0, 0.5), made(&[0, 5, 6, 1], 3.0, 0.5)),
                pair(made(&[0, 5, 7, 1], 8.0, 0.5), made(&[0, 5, 1], 3.0, 0.4)),
            ],
            interrupted: false,
        };
        let scores: Vec<[Rouge; 2]> = found
            .pairs
            .iter()
            .filter_map(|pair| Some([pair.made[0].rouge?, pair.made[1].rouge?]))
            .collect();
        let bundle = |precision: &str, bytes| BundleRecord {
            path: format!("models/{precision}"),
            source: "model.tar.gz".into(),
            architecture: "pegasus".into(),
            precision: precision.into(),
            bytes,
        };
        ComparisonRecord {
            bundles: [bundle("fp32", 4_000_000), bundle("int8", 1_000_000)],
            default_differences: Vec::new(),
            documents: 2,
            references: scores.len(),
            truncated: 0,
            rouge: RougeRecord::of(&scores),
            agreement: one_vocabulary.then(|| Agreement::of(&found)),
            logits: one_vocabulary.then(|| LogitRecord::from(LogitError::default())),
            latency_ms: [Spread::of(&[10.0, 10.0]), Spread::of(&[5.0, 5.0])],
            tokens: [3.0, 2.5],
            machine: Machine::default(),
            versions: Versions::default(),
            interrupted: false,
        }
    }

    #[test]
    fn agreement_counts_tokens_before_the_first_that_differs() {
        let agreement = record(true, true).agreement.expect("one vocabulary");
        assert_eq!((agreement.equal, agreement.common_prefix), (0.5, 2.0));
    }

    #[test]
    fn the_difference_is_what_b_gains() {
        let rouge = record(true, true).rouge.expect("references");
        let gain = rouge.difference.rouge_l;
        assert!((gain.mean + 0.05).abs() < 1e-12, "{gain:?}");
        assert!((gain.low + 0.1).abs() < 1e-12 && gain.high == 0.0, "{gain:?}");
        assert_eq!(record(false, true).rouge, None);
    }

    #[test]
    fn a_record_survives_json() {
        for record in [record(true, true), record(false, false)] {
            let text = serde_json::to_string(&record).expect("JSON");
            let read: ComparisonRecord = serde_json::from_str(&text).expect("a record");
            assert_eq!(read, record, "{text}");
        }
    }
}
