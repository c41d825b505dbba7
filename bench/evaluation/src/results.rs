//! The figures of a sweep for each setting: the content of `results.json`.

use epitome_runtime::bundle::Bundle;
use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::machine::{Machine, Versions};
use crate::pareto::{self, Choice};
use crate::rouge::Rouge;
use crate::settings::Setting;
use crate::statistics::{Spread, mean};
use crate::sweep::{Sample, Samples};

/// Version of the format of `results.json`.
pub const FORMAT: u32 = 1;

/// The results of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Version of the format: [`FORMAT`].
    pub format: u32,
    /// The model.
    pub model: ModelRecord,
    /// The documents.
    pub data: DataRecord,
    /// The machine.
    pub machine: Machine,
    /// The program versions.
    pub versions: Versions,
    /// Whether the user ended the sweep early.
    pub interrupted: bool,
    /// The latency budget, if one was given: the most that the 90th percentile may be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub budget_ms: Option<f64>,
    /// The figures of each setting.
    pub points: Vec<Point>,
}

/// A model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// The checkpoint it was exported from.
    pub name: String,
    /// `model_type`
    pub architecture: String,
    /// Precision of its weights.
    pub precision: String,
    /// Size of a hidden state.
    pub hidden_size: usize,
    /// Layers of encoder and decoder.
    pub layers: [usize; 2],
    /// Size of the vocabulary.
    pub vocab_size: usize,
    /// Threads that it used.
    pub threads: usize,
}

/// The documents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// File name.
    pub name: String,
    /// Documents measured.
    pub documents: usize,
    /// Documents with a reference summary.
    pub references: usize,
    /// Documents longer than the model reads, which were cut.
    pub truncated: usize,
    /// Rows without a text, which were skipped.
    pub empty_rows: usize,
}

/// One setting's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The setting.
    #[serde(flatten)]
    pub setting: Setting,
    /// Summaries measured.
    pub samples: usize,
    /// Milliseconds of a summary.
    pub latency_ms: Spread,
    /// Mean milliseconds of the encoder.
    pub encode_ms: f64,
    /// Mean milliseconds of decoder and search.
    pub decode_ms: f64,
    /// Decoder steps.
    pub steps: Spread,
    /// Tokens of the summary, the end token included.
    pub tokens: Spread,
    /// Mean characters of the summary.
    pub characters: f64,
    /// Tokens generated in a second, encoding included.
    pub tokens_per_second: f64,
    /// Mean ROUGE, if there are references.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rouge: Option<Rouge>,
    /// Whether the setting is on the Pareto front: no other is both faster and better.
    pub pareto: bool,
    /// Whether the setting was picked for the budget.
    pub picked: bool,
}

impl Results {
    /// The figures of samples, which must be of `settings`.
    pub fn new(
        model: ModelRecord,
        data: DataRecord,
        settings: &[Setting],
        samples: &Samples,
    ) -> Self {
        let points = settings.iter().enumerate().filter_map(|(index, &setting)| {
            let own: Vec<&Sample> = samples.list.iter().filter(|s| s.setting == index).collect();
            (!own.is_empty()).then(|| point(setting, &own))
        });
        let mut results = Self {
            format: FORMAT,
            model,
            data,
            machine: Machine::this(),
            versions: Versions::current(),
            interrupted: samples.interrupted,
            budget_ms: None,
            points: points.collect(),
        };
        let (measured, choices) = results.choices();
        for on_front in pareto::front(&choices) {
            results.points[measured[on_front]].pareto = true;
        }
        results
    }

    /// Picks the best setting within a budget.
    #[must_use]
    pub fn within(mut self, budget_ms: f64) -> Self {
        let (measured, choices) = self.choices();
        let picked = pareto::within_budget(&choices, budget_ms);
        for (index, point) in self.points.iter_mut().enumerate() {
            point.picked = picked.is_some_and(|picked| measured[picked] == index);
        }
        self.budget_ms = Some(budget_ms);
        self
    }

    /// The setting that was picked.
    pub fn picked(&self) -> Option<&Point> {
        self.points.iter().find(|point| point.picked)
    }

    /// The result for the budget in a sentence; none without a budget.
    pub fn verdict(&self) -> Option<String> {
        let budget = self.budget_ms?;
        let fastest =
            self.points.iter().map(|point| point.latency_ms.p90).fold(f64::INFINITY, f64::min);
        Some(match self.picked() {
            Some(point) => format!(
                "For {budget} ms: {} (9 of 10 summaries within {:.1} ms, ROUGE-L {:.1})",
                point.setting,
                point.latency_ms.p90,
                100.0 * point.rouge.unwrap_or_default().rouge_l
            ),
            None if self.points.iter().all(|point| point.rouge.is_none()) => format!(
                "For {budget} ms: no setting can be picked, since no document has a reference \
                 summary to measure quality"
            ),
            None => format!(
                "For {budget} ms: no setting is fast enough (the fastest makes 9 of 10 summaries \
                 within {fastest:.1} ms)"
            ),
        })
    }

    /// Positions of the points with ROUGE, and their latency and quality.
    fn choices(&self) -> (Vec<usize>, Vec<Choice>) {
        let known = self.points.iter().enumerate().filter_map(|(index, point)| {
            let choice = Choice { latency: point.latency_ms.p90, quality: point.rouge?.rouge_l };
            Some((index, choice))
        });
        known.unzip()
    }
}

impl ModelRecord {
    /// The record of a bundle that runs with `threads` threads.
    pub fn of(bundle: &Bundle, threads: usize) -> Self {
        let manifest = bundle.manifest();
        let shape = &manifest.shape;
        Self {
            name: manifest.source.name.clone(),
            architecture: manifest.architecture.clone(),
            precision: manifest.precision.to_string(),
            hidden_size: shape.hidden_size,
            layers: [shape.encoder_layers, shape.decoder_layers],
            vocab_size: shape.vocab_size,
            threads,
        }
    }
}

impl DataRecord {
    /// The record of a dataset with this name, as far as it was measured.
    pub fn new(name: impl Into<String>, data: &Dataset, samples: &Samples) -> Self {
        let mut rows: Vec<(usize, bool)> =
            samples.list.iter().map(|sample| (sample.row, sample.truncated)).collect();
        rows.sort_unstable();
        rows.dedup();
        let measured = |row: usize| rows.iter().any(|(other, _)| *other == row);
        Self {
            name: name.into(),
            documents: rows.len(),
            references: data
                .documents
                .iter()
                .filter(|document| document.summary.is_some() && measured(document.row))
                .count(),
            truncated: rows.iter().filter(|(_, truncated)| *truncated).count(),
            empty_rows: data.empty_rows,
        }
    }
}

fn point(setting: Setting, samples: &[&Sample]) -> Point {
    let each = |figure: &dyn Fn(&Sample) -> f64| -> Vec<f64> {
        samples.iter().map(|sample| figure(sample)).collect()
    };
    let latency = each(&|sample| sample.milliseconds.total());
    let tokens = each(&|sample| sample.tokens as f64);
    Point {
        setting,
        samples: samples.len(),
        encode_ms: mean(&each(&|sample| sample.milliseconds.encode)),
        decode_ms: mean(&each(&|sample| sample.milliseconds.decode)),
        steps: Spread::of(&each(&|sample| sample.steps as f64)),
        characters: mean(&each(&|sample| sample.characters as f64)),
        tokens_per_second: 1e3 * tokens.iter().sum::<f64>() / latency.iter().sum::<f64>(),
        latency_ms: Spread::of(&latency),
        tokens: Spread::of(&tokens),
        rouge: Rouge::mean(samples.iter().filter_map(|sample| sample.rouge)),
        pareto: false,
        picked: false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::settings::Stopping;
    use crate::sweep::Milliseconds;

    /// Results of three settings over two documents; more beams are slower and better.
    pub(crate) fn results(references: bool) -> Results {
        let settings = [1, 2, 4].map(|beams| Setting::new(beams, 1.0, Stopping::False));
        let list = (0..6)
            .map(|i| {
                let setting = i % 3;
                let rouge = 0.1 + 0.1 * setting as f64;
                Sample {
                    row: 1 + i / 3,
                    setting,
                    milliseconds: Milliseconds {
                        tokenize: 0.5,
                        encode: 1.0,
                        decode: 10.0 * (1 << setting) as f64 + (i / 3) as f64,
                    },
                    input_tokens: 10,
                    truncated: i >= 3,
                    steps: 8,
                    tokens: 7,
                    characters: 30,
                    rouge: references.then_some(Rouge {
                        rouge1: rouge,
                        rouge2: rouge,
                        rouge_l: rouge,
                    }),
                }
            })
            .collect();
        let samples = Samples { list, interrupted: false };
        let data = DataRecord { name: "data.csv".into(), documents: 2, ..Default::default() };
        Results::new(ModelRecord::default(), data, &settings, &samples)
    }

    #[test]
    fn points_sum_up_their_own_samples() {
        let results = results(true);
        assert_eq!(results.points.len(), 3);
        let greedy = &results.points[0];
        assert_eq!((greedy.samples, greedy.latency_ms.p50, greedy.steps.mean), (2, 12.0, 8.0));
        assert!((greedy.tokens_per_second - 14e3 / 24.0).abs() < 1e-9);
        assert!(results.points.iter().all(|point| point.pareto));
    }

    #[test]
    fn the_verdict_is_honest() {
        let verdict =
            |results: Results, budget| results.within(budget).verdict().expect("a verdict");
        assert!(
            verdict(results(true), 25.0).starts_with("For 25 ms: num_beams 2, length_penalty 1,")
        );
        assert!(verdict(results(true), 5.0).contains(
            "no setting is fast enough (the fastest makes 9 of 10 summaries within 12.4 ms)"
        ));
        assert!(verdict(results(false), 25.0).contains("no document has a reference"));
        assert_eq!(results(true).verdict(), None);
    }

    #[test]
    fn results_survive_json() {
        let results = results(true).within(25.0);
        let text = serde_json::to_string(&results).expect("JSON");
        assert_eq!(serde_json::from_str::<Results>(&text).expect("results"), results);
    }
}
