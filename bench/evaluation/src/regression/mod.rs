//! Detects whether a model got slower or worse: compares a new model with the old one, or with the
//! results of an earlier run.
//!
//! [`Plan::run`] has both models. They run in interleaved processes, so that other load of the
//! machine affects both. A sequential test decides: it stops as soon as the answer is clear, and
//! calls one unchanged model in a thousand slower.
//!
//! [`against_results`] has only figures of an earlier hour. Tokens and ROUGE do not depend on the
//! hour, and are compared as above. Times do by an unknown amount, so only a slowdown beyond
//! [`DRIFT`] is reported.

mod decision;
mod quality;
mod rounds;

use epitome_runtime::bundle::Bundle;
use epitome_runtime::progress::Progress;
use serde::{Deserialize, Serialize};

pub use decision::Outcome;
pub use quality::Quality;
use rounds::{Decided, Figure, Summaries, Task, rounds};

use crate::compare::shared_defaults;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::origin::Origin;
use crate::results::{DataRecord, ModelRecord, Results};
use crate::settings::Setting;
use crate::statistics::mean;
use crate::sweep::{Sample, Samples};
use crate::worker::{Program, Start};

/// Default tolerance if both models are measured.
pub const TOLERANCE: f64 = 0.03;
/// Slowdown that may come from the hour alone, when times of two runs are compared. A machine with
/// neighbours drifts by this much within a day.
pub const DRIFT: f64 = 0.15;
/// Stated false-alarm rate of a run, for times and memory together.
const FALSE_ALARM_RATE: f64 = 0.001;

/// Comparison of a new model with an old one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regression {
    /// Outcome of the whole comparison.
    pub outcome: Outcome,
    /// The verdict in a sentence.
    pub verdict: String,
    /// Tolerated growth as a fraction.
    pub tolerance: f64,
    /// Method of comparing the times.
    pub method: Method,
    /// Figures that were compared.
    pub figures: Vec<FigureRecord>,
    /// ROUGE-L, if there are references.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quality: Option<Quality>,
    /// Share of summaries with a different text; `None` if the old ones are not stored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub different: Option<f64>,
    /// Warnings about the verdict.
    pub warnings: Vec<String>,
    /// Results of the old model.
    pub old: Results,
}

/// Method of comparing times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Interleaved processes.
    Interleaved {
        /// Number of rounds of fresh processes.
        rounds: usize,
        /// Number of documents in a round.
        documents: usize,
        /// Rate at which an unchanged model is called slower.
        false_alarm_rate: f64,
    },
    /// Comparison with the times of an earlier run.
    Stored,
}

/// A figure that was compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FigureRecord {
    /// Kind of the figure: time, memory or load time.
    pub name: String,
    /// Setting of a time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub setting: Option<Setting>,
    /// Relative growth.
    pub growth: f64,
    /// Smallest growth that could be distinguished from chance; the tolerance, or more.
    pub detectable: f64,
    /// Outcome for this figure.
    pub outcome: Outcome,
}

/// Models, documents and settings of a comparison. The old model comes first.
pub struct Plan<'a> {
    /// Programs that run the models.
    pub programs: [&'a Program; 2],
    /// The models.
    pub bundles: [&'a Bundle; 2],
    /// Number of threads of each model.
    pub threads: usize,
    /// The documents.
    pub data: &'a Dataset,
    /// Name of the documents.
    pub data_name: &'a str,
    /// The settings.
    pub settings: &'a [Setting],
    /// Tolerated growth as a fraction.
    pub tolerance: f64,
    /// Origin of the measurement.
    pub origin: Origin,
}

impl Plan<'_> {
    /// Measures, and returns the comparison with the results and samples of the new model. If other
    /// generation defaults of the models differ, both run with those of the old model.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] when `progress` says so. Errors of loading or running a model.
    pub fn run(&self, progress: &dyn Progress) -> Result<(Regression, Results, Samples)> {
        let parameters = [Default::default(), shared_defaults(self.bundles[0], self.bundles[1])?];
        let task = Task { data: self.data, settings: self.settings, parameters };
        let [old, new] = self.programs;
        let measured = measure(&task, [old, new], self.tolerance, progress);
        let (summaries, decided) = match measured {
            // Ctrl-C in a terminal ends the processes of the models too.
            Err(Error::Worker { .. }) if progress.cancelled() => Err(Error::Interrupted),
            measured => measured,
        }?;
        let [old, new] = [0, 1].map(|model: usize| self.results(&summaries, model));
        let [old_samples, samples] = summaries.samples;
        let different = different(&old_samples.list, &samples.list);
        let regression = regression(old, &new, self.tolerance, &decided, different);
        Ok((regression, new, samples))
    }

    fn results(&self, summaries: &Summaries, model: usize) -> Results {
        let samples = &summaries.samples[model];
        let record = ModelRecord::of(self.bundles[model], self.threads);
        let data = DataRecord::new(self.data_name, self.data, samples);
        let mut results = Results::new(record, data, self.settings, samples).with_examples(
            self.data,
            self.settings,
            samples,
        );
        results.load_ms = Some(summaries.load_ms[model]);
        results.memory_bytes = summaries.memory_bytes[model];
        results.origin = self.origin.clone();
        results
    }
}

fn measure(
    task: &Task<'_>,
    starts: [&dyn Start; 2],
    tolerance: f64,
    progress: &dyn Progress,
) -> Result<(Summaries, Decided)> {
    let summaries = task.summarize(starts, progress)?;
    let all = summaries.samples.iter().flat_map(|samples| &samples.list);
    let total: f64 = all.map(|sample| sample.milliseconds.total()).sum();
    let seconds_a_document = total / 2e3 / task.data.documents.len().max(1) as f64;
    let decided = rounds(task, starts, seconds_a_document, tolerance, progress)?;
    Ok((summaries, decided))
}

/// The share of summaries that differ. Both lists are in the same order of documents and settings.
fn different(old: &[Sample], new: &[Sample]) -> f64 {
    let pairs = old.iter().zip(new).map(|(old, new)| f64::from(old.summary != new.summary));
    mean(&pairs.collect::<Vec<f64>>())
}

fn regression(
    old: Results,
    new: &Results,
    tolerance: f64,
    decided: &Decided,
    different: f64,
) -> Regression {
    let figures = decided.figures.iter().map(|(figure, decision)| {
        let (name, setting) = match figure {
            Figure::Time(index) => ("time", Some(new.points[*index].setting)),
            Figure::Memory => ("memory", None),
            Figure::Load => ("load time", None),
        };
        FigureRecord {
            name: name.into(),
            setting,
            growth: decision.growth,
            detectable: decision.detectable,
            outcome: decision.outcome.unwrap_or(Outcome::Unclear),
        }
    });
    let quality = Quality::of(&old, new, tolerance);
    let method = Method::Interleaved {
        rounds: decided.rounds,
        documents: decided.documents,
        false_alarm_rate: FALSE_ALARM_RATE,
    };
    let warnings = new.warning().into_iter().collect();
    judged(Regression {
        outcome: Outcome::Kept,
        verdict: String::new(),
        tolerance,
        method,
        figures: figures.collect(),
        quality,
        different: Some(different),
        warnings,
        old,
    })
}

/// Checks that results can be compared with a measurement of these documents.
///
/// # Errors
///
/// [`Error::Settings`] if they are of other documents, or were ended early.
pub fn check(old: &Results, data: &Dataset) -> Result<()> {
    if old.interrupted {
        return Err(Error::Settings(
            "the results of --against were ended early: make them again in full".into(),
        ));
    }
    if old.data.digest != data.digest() {
        return Err(Error::Settings(format!(
            "the results of --against are of other documents ({} of '{}'): give the same ones with \
             --data, or make the results again",
            old.data.documents, old.data.name
        )));
    }
    Ok(())
}

/// Compares with the results of an earlier run over the same documents and settings.
pub fn against_results(old: Results, new: &Results, tolerance: f64) -> Regression {
    let obstacles = obstacles(&old, new);
    let mut figures = Vec::new();
    let mut figure = |name: &str, setting, before: f64, after: f64, told: f64| {
        let growth = after / before - 1.0;
        let detectable = tolerance.max(told);
        let outcome = match growth > detectable && obstacles.is_empty() {
            true => Outcome::Worse,
            false if detectable > tolerance || !obstacles.is_empty() => Outcome::Unclear,
            false => Outcome::Kept,
        };
        figures.push(FigureRecord { name: name.into(), setting, growth, detectable, outcome });
    };
    for point in &new.points {
        let before = old.points.iter().find(|old| old.setting == point.setting);
        let Some(before) = before else { continue };
        let [before, after] = [before, point].map(|point| point.latency_ms.p50);
        figure("time", Some(point.setting), before, after, DRIFT);
    }
    if let (Some(before), Some(after)) = (old.memory_bytes, new.memory_bytes) {
        figure("memory", None, before as f64, after as f64, 0.0);
    }
    let mut warnings: Vec<String> = new.warning().into_iter().collect();
    if obstacles.is_empty() {
        warnings.push(format!(
            "Times are compared with those of {}: a machine drifts from hour to hour, so that only \
             a slowdown of more than {:.0}% is told. --against-model OLD measures both in turn",
            old.origin.date,
            100.0 * tolerance.max(DRIFT)
        ));
    } else {
        warnings.push(format!(
            "Times cannot be compared: {}. --against-model OLD measures both in turn",
            obstacles.join(", ")
        ));
    }
    let quality = Quality::of(&old, new, tolerance);
    judged(Regression {
        outcome: Outcome::Kept,
        verdict: String::new(),
        tolerance,
        method: Method::Stored,
        figures,
        quality,
        different: None,
        warnings,
        old,
    })
}

/// Reasons why times of two runs cannot be compared.
fn obstacles(old: &Results, new: &Results) -> Vec<String> {
    let mut found = Vec::new();
    let mut differ = |what: &str, old: &str, new: &str| {
        if old != new {
            found.push(format!("{what} was '{old}' and is '{new}'"));
        }
    };
    differ("the processor", &old.machine.cpu, &new.machine.cpu);
    differ("the system", &old.machine.os, &new.machine.os);
    differ(
        "the number of cores",
        &old.machine.threads.to_string(),
        &new.machine.threads.to_string(),
    );
    differ("--threads", &old.model.threads.to_string(), &new.model.threads.to_string());
    let version = |results: &Results| results.versions.onnxruntime.clone().unwrap_or_default();
    differ("ONNX Runtime", &version(old), &version(new));
    found
}

/// Sets the outcome and the verdict from the figures.
fn judged(mut regression: Regression) -> Regression {
    let is = |outcome| move |figure: &&FigureRecord| figure.outcome == outcome;
    let worse: Vec<&FigureRecord> = regression.figures.iter().filter(is(Outcome::Worse)).collect();
    // Loading is short and scatters, so an unclear result says nothing about the machine.
    let unclear: Vec<&FigureRecord> = regression
        .figures
        .iter()
        .filter(is(Outcome::Unclear))
        .filter(|figure| figure.name != "load time")
        .collect();
    let quality = regression.quality.filter(|quality| quality.outcome == Outcome::Worse);
    let tolerance = format!("tolerance {}%", tidy(100.0 * regression.tolerance));
    let (outcome, verdict) = if !worse.is_empty() || quality.is_some() {
        let mut parts: Vec<String> = worst(&worse).map(grown).collect();
        parts.extend(quality.map(|quality| format!("worse: {}", quality.sentence())));
        (Outcome::Worse, format!("{} ({tolerance})", parts.join("; ")))
    } else if !unclear.is_empty() {
        let detectable = unclear.iter().map(|figure| figure.detectable).fold(0.0, f64::max);
        let why = match regression.method {
            Method::Interleaved { rounds, .. } => format!(
                "after {rounds} rounds, times scatter so much that only a slowdown of more than \
                 {:.0}% would show",
                100.0 * detectable
            ),
            Method::Stored => match regression.warnings.last() {
                Some(warning) => warning.clone(),
                None => "times of two runs cannot be compared".into(),
            },
        };
        (Outcome::Unclear, format!("too noisy to tell: {why} ({tolerance})"))
    } else {
        let times = regression.figures.iter().filter(|figure| figure.name == "time");
        let growth: Vec<f64> = times.map(|figure| figure.growth).collect();
        let [low, high] =
            [f64::min, f64::max].map(|of| growth.iter().copied().reduce(of).unwrap_or_default());
        let quality = regression.quality.map(|quality| format!(", {}", quality.sentence()));
        let verdict = format!(
            "not slower and not worse: times {}{} ({tolerance})",
            range(low, high),
            quality.unwrap_or_default()
        );
        (Outcome::Kept, verdict)
    };
    regression.outcome = outcome;
    regression.verdict = capitalized(&verdict);
    regression
}

/// For each name, the figure that grew most.
fn worst<'a>(figures: &[&'a FigureRecord]) -> impl Iterator<Item = &'a FigureRecord> {
    let mut found: Vec<&FigureRecord> = Vec::new();
    for figure in figures {
        match found.iter_mut().find(|known| known.name == figure.name) {
            Some(known) if known.growth < figure.growth => *known = figure,
            Some(_) => {}
            None => found.push(figure),
        }
    }
    found.into_iter()
}

fn grown(figure: &FigureRecord) -> String {
    let percent = format!("{:.1}%", 100.0 * figure.growth);
    match (&*figure.name, figure.setting) {
        (_, Some(setting)) => format!("slower: a summary at {setting} takes {percent} longer"),
        ("memory", None) => format!("needs {percent} more memory"),
        (name, None) => format!("{name} is {percent} longer"),
    }
}

fn range(low: f64, high: f64) -> String {
    // Adding 0 turns -0 into 0.
    let percent = |growth: f64| format!("{:+.1}%", (1e3 * growth).round() / 10.0 + 0.0);
    match percent(low) == percent(high) {
        true => percent(low),
        false => format!("{} to {}", percent(low), percent(high)),
    }
}

fn tidy(percent: f64) -> f64 {
    (1e6 * percent).round() / 1e6
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + characters.as_str()
    })
}

#[cfg(test)]
mod tests;
