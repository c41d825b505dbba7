//! The results of a sweep: the content of `results.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use epitome_runtime::bundle::{Bundle, digest};
use serde::{Deserialize, Serialize};

use crate::data::{Dataset, Document};
use crate::error::{Error, Result};
use crate::holdout::Holdout;
use crate::machine::{Machine, Versions};
use crate::origin::Origin;
use crate::pareto::{self, Choice};
use crate::rouge::Rouge;
use crate::settings::Setting;
use crate::statistics::{Spread, mean, mean_interval};
use crate::sweep::{Sample, Samples};

/// Version of the format of `results.json`.
pub const FORMAT: u32 = 1;
/// Number of documents with a reference below which ROUGE says little.
pub(crate) const FEW_DOCUMENTS: usize = 30;
/// Number of documents whose summaries are shown.
const EXAMPLES: usize = 6;
/// Number of characters of a document that are shown.
const EXCERPT: usize = 300;

/// The results of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Version of the format: [`FORMAT`].
    pub format: u32,
    /// Origin of the results.
    #[serde(default)]
    pub origin: Origin,
    /// The model.
    pub model: ModelRecord,
    /// The documents.
    pub data: DataRecord,
    /// The machine.
    pub machine: Machine,
    /// The program versions.
    pub versions: Versions,
    /// Time to load the model in milliseconds, if it was measured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub load_ms: Option<f64>,
    /// Peak memory of the process in bytes, if the system tells.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory_bytes: Option<u64>,
    /// Whether the user ended the sweep early.
    pub interrupted: bool,
    /// Latency budget in milliseconds, if there is one: the limit of the 90th percentile.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub budget_ms: Option<f64>,
    /// Quality of the choice for the budget on documents that did not help to choose.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub holdout: Option<Holdout>,
    /// The figures of each setting.
    pub points: Vec<Point>,
    /// Mean ROUGE-L of each document with a reference over all settings.
    #[serde(default)]
    pub by_document: Vec<DocumentRecord>,
    /// Some documents and their summaries.
    #[serde(default)]
    pub examples: Vec<Example>,
}

/// The quality of one document's summaries.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocumentRecord {
    /// Row of the document in its file.
    pub row: usize,
    /// Mean ROUGE-L over all settings.
    #[serde(rename = "rougeL")]
    pub rouge_l: f64,
}

/// A document and its summary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Row of the document in its file.
    pub row: usize,
    /// The setting.
    pub setting: Setting,
    /// The start of the document.
    pub text: String,
    /// The reference summary, if there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reference: Option<String>,
    /// The model's summary.
    pub summary: String,
}

/// A model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Checkpoint that it was exported from.
    pub name: String,
    /// Digest over all files of the bundle.
    #[serde(default)]
    pub digest: String,
    /// `model_type`
    pub architecture: String,
    /// Precision of the weights.
    pub precision: String,
    /// Size of a hidden state.
    pub hidden_size: usize,
    /// Number of layers of encoder and decoder.
    pub layers: [usize; 2],
    /// Size of the vocabulary.
    pub vocab_size: usize,
    /// Number of threads.
    pub threads: usize,
}

/// The documents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// File name.
    pub name: String,
    /// Digest over texts and summaries.
    #[serde(default)]
    pub digest: String,
    /// Number of measured documents.
    pub documents: usize,
    /// Number of documents with a reference summary.
    pub references: usize,
    /// Number of documents longer than the model's window, which were truncated.
    pub truncated: usize,
    /// Number of rows without a text, which were skipped.
    pub empty_rows: usize,
}

/// One setting's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The setting.
    #[serde(flatten)]
    pub setting: Setting,
    /// Number of measured summaries.
    pub samples: usize,
    /// Time of a summary in milliseconds.
    pub latency_ms: Spread,
    /// Mean time of the encoder in milliseconds.
    pub encode_ms: f64,
    /// Mean time of decoder and search in milliseconds.
    pub decode_ms: f64,
    /// Number of decoder steps.
    pub steps: Spread,
    /// Number of tokens of the summary, including the end token.
    pub tokens: Spread,
    /// Mean number of characters of the summary.
    pub characters: f64,
    /// Generated tokens per second, including the time of the encoder.
    pub tokens_per_second: f64,
    /// Mean ROUGE, if there are references.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rouge: Option<Rouge>,
    /// The 95% interval of the mean ROUGE-L, by a bootstrap over the documents.
    #[serde(rename = "rougeL_interval", skip_serializing_if = "Option::is_none", default)]
    pub rouge_l_interval: Option<[f64; 2]>,
    /// Whether the setting is on the Pareto front: no other is both faster and better.
    pub pareto: bool,
    /// Whether the setting was picked for the budget.
    pub picked: bool,
}

impl Results {
    /// The results of samples, which must be of `settings`.
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
            origin: Origin::default(),
            model,
            data,
            machine: Machine::this(),
            versions: Versions::current(),
            load_ms: None,
            memory_bytes: None,
            interrupted: samples.interrupted,
            budget_ms: None,
            holdout: None,
            points: points.collect(),
            by_document: by_document(samples),
            examples: Vec::new(),
        };
        let (measured, choices) = results.choices();
        for on_front in pareto::front(&choices) {
            results.points[measured[on_front]].pareto = true;
        }
        results
    }

    /// Reads a file that `epitome bench` wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::Data`], naming the file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::io(path))?;
        let wrong = |error: serde_json::Error| {
            Error::data(path, format!("is no results.json of 'epitome bench' ({error})"))
        };
        let results: Self = serde_json::from_slice(&bytes).map_err(wrong)?;
        if results.format != FORMAT || results.points.is_empty() {
            let problem = "is of another version of 'epitome bench': make it again";
            return Err(Error::data(path, problem));
        }
        Ok(results)
    }

    /// Whether no setting meets the budget.
    pub fn is_beyond_budget(&self) -> bool {
        let fastest = self.points.iter().map(|point| point.latency_ms.p90).reduce(f64::min);
        self.budget_ms.is_some_and(|budget| fastest.is_some_and(|fastest| fastest > budget))
    }

    /// The settings that were measured.
    pub fn settings(&self) -> Vec<Setting> {
        self.points.iter().map(|point| point.setting).collect()
    }

    /// Adds summaries of some documents, spread over the data. They are those of the picked
    /// setting, or else of the last one.
    #[must_use]
    pub fn with_examples(
        mut self,
        data: &Dataset,
        settings: &[Setting],
        samples: &Samples,
    ) -> Self {
        let picked = self.picked().or(self.points.last()).map(|point| point.setting);
        let place = settings.iter().position(|&setting| Some(setting) == picked);
        let mut own: Vec<&Sample> =
            samples.list.iter().filter(|sample| Some(sample.setting) == place).collect();
        own.sort_by_key(|sample| sample.row);
        own.dedup_by_key(|sample| sample.row);
        let step = own.len().div_ceil(EXAMPLES).max(1);
        let document = |row| data.documents.iter().find(|document| document.row == row);
        self.examples = own
            .into_iter()
            .step_by(step)
            .filter_map(|sample| {
                let document = document(sample.row)?;
                Some(Example::of(document, settings[sample.setting], &sample.summary))
            })
            .collect();
        self
    }

    /// A warning about the quality, if there is one.
    pub fn warning(&self) -> Option<String> {
        let count = self.data.references;
        (1..FEW_DOCUMENTS).contains(&count).then(|| {
            format!(
                "Only {count} of the documents have a reference summary: under {FEW_DOCUMENTS} \
                 ROUGE says little, see its intervals"
            )
        })
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

    /// The result for the budget in a sentence; `None` without a budget.
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
            None if !self.is_beyond_budget() => format!(
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
        let files: String =
            manifest.files.iter().map(|(name, file)| format!("{name} {}\n", file.sha256)).collect();
        Self {
            name: manifest.source.name.clone(),
            digest: format!("sha256:{}", digest::bytes(files.as_bytes())),
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
    /// The record of a dataset with this name, for the documents that were measured.
    pub fn new(name: impl Into<String>, data: &Dataset, samples: &Samples) -> Self {
        let mut rows: Vec<(usize, bool)> =
            samples.list.iter().map(|sample| (sample.row, sample.truncated)).collect();
        rows.sort_unstable();
        rows.dedup();
        let measured = |row: usize| rows.iter().any(|(other, _)| *other == row);
        Self {
            name: name.into(),
            digest: data.digest(),
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
    // A second summary of a document adds no information about quality.
    let quality: BTreeMap<usize, f64> =
        samples.iter().filter_map(|sample| Some((sample.row, sample.rouge?.rouge_l))).collect();
    let quality: Vec<f64> = quality.into_values().collect();
    Point {
        setting,
        samples: samples.len(),
        encode_ms: mean(&each(&|sample| sample.milliseconds.encode)),
        decode_ms: mean(&each(&|sample| sample.milliseconds.decode)),
        steps: Spread::of(&each(&|sample| sample.steps as f64)),
        characters: mean(&each(&|sample| sample.summary.chars().count() as f64)),
        tokens_per_second: 1e3 * tokens.iter().sum::<f64>() / latency.iter().sum::<f64>(),
        latency_ms: Spread::of(&latency),
        tokens: Spread::of(&tokens),
        rouge: Rouge::mean(samples.iter().filter_map(|sample| sample.rouge)),
        rouge_l_interval: (!quality.is_empty()).then(|| mean_interval(&quality)),
        pareto: false,
        picked: false,
    }
}

fn by_document(samples: &Samples) -> Vec<DocumentRecord> {
    let mut scores: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for sample in &samples.list {
        if let Some(rouge) = sample.rouge {
            scores.entry(sample.row).or_default().push(rouge.rouge_l);
        }
    }
    let record = |(row, scores): (usize, Vec<f64>)| DocumentRecord { row, rouge_l: mean(&scores) };
    scores.into_iter().map(record).collect()
}

impl Example {
    fn of(document: &Document, setting: Setting, summary: &str) -> Self {
        let mut text: String = document.text.chars().take(EXCERPT).collect();
        if text.len() < document.text.len() {
            text.push_str(" ...");
        }
        let reference = document.summary.clone();
        Self { row: document.row, setting, text, reference, summary: summary.to_owned() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::settings::Stopping;
    use crate::sweep::Milliseconds;

    /// Results of three settings over two documents. More beams are slower and better.
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
                    summary: format!("summary {setting}"),
                    rouge: references.then_some(Rouge {
                        rouge1: rouge,
                        rouge2: rouge,
                        rouge_l: rouge,
                    }),
                }
            })
            .collect();
        let samples = Samples { list, interrupted: false };
        let data = DataRecord {
            name: "data.csv".into(),
            documents: 2,
            references: if references { 2 } else { 0 },
            ..Default::default()
        };
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
    fn a_budget_that_nothing_meets_is_told_without_references_too() {
        for references in [false, true] {
            let results = results(references);
            assert!(!results.is_beyond_budget());
            assert!(!results.clone().within(25.0).is_beyond_budget());
            let beyond = results.within(5.0);
            assert!(beyond.is_beyond_budget());
            assert!(beyond.verdict().expect("a verdict").contains("no setting is fast enough"));
        }
    }

    #[test]
    fn examples_are_spread_over_the_documents() {
        let document =
            |row| Document { row, text: "a ".repeat(400), summary: Some("a reference".into()) };
        let data = Dataset { documents: (1..=20).map(document).collect(), empty_rows: 0 };
        let settings = [1, 2].map(|beams| Setting::new(beams, 1.0, Stopping::False));
        let sample = |row, setting| Sample {
            row,
            setting,
            milliseconds: Milliseconds::default(),
            input_tokens: 1,
            truncated: false,
            steps: 1,
            tokens: 1,
            summary: format!("summary {row} {setting}"),
            rouge: None,
        };
        let list = (1..=20).flat_map(|row| [sample(row, 0), sample(row, 1)]).collect();
        let samples = Samples { list, interrupted: false };
        let record = DataRecord::new("data.csv", &data, &samples);
        let results = Results::new(ModelRecord::default(), record, &settings, &samples)
            .with_examples(&data, &settings, &samples);
        let rows: Vec<usize> = results.examples.iter().map(|example| example.row).collect();
        assert_eq!(rows, [1, 5, 9, 13, 17]);
        let first = &results.examples[0];
        assert_eq!(first.summary, "summary 1 1");
        assert!(first.text.len() < 310 && first.text.ends_with(" ..."));
        assert_eq!(first.reference.as_deref(), Some("a reference"));
    }

    #[test]
    fn files_that_are_no_results_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results.json");
        let message = || Results::read(&path).expect_err("refused").to_string();
        assert!(message().contains("results.json'"));
        fs::write(&path, "{}").expect("written");
        assert!(message().contains("is no results.json of 'epitome bench'"), "{}", message());
        let other = Results { format: 0, ..results(true) };
        fs::write(&path, serde_json::to_vec(&other).expect("JSON")).expect("written");
        assert!(message().contains("make it again"), "{}", message());
    }

    #[test]
    fn results_survive_json() {
        let results = results(true).within(25.0);
        let text = serde_json::to_string(&results).expect("JSON");
        assert_eq!(serde_json::from_str::<Results>(&text).expect("results"), results);
    }
}
