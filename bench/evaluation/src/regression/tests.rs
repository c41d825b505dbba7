//! Tests with fake models.

use std::cell::Cell;

use serde_json::{Map, Value};

use super::*;
use crate::data::Document;
use crate::results::tests::results;
use crate::settings::Stopping;
use crate::sweep::{Made, Milliseconds};
use crate::worker::Model;

/// A model that takes a stated time with a little noise, which differs between processes.
struct Fake {
    milliseconds: f64,
    noise: f64,
    memory_bytes: Option<u64>,
    summary: &'static str,
    started: Cell<u64>,
}

struct Process {
    milliseconds: f64,
    noise: f64,
    memory_bytes: Option<u64>,
    summary: &'static str,
    random: fastrand::Rng,
}

impl Start for Fake {
    fn start(&self) -> Result<Box<dyn Model>> {
        self.started.set(self.started.get() + 1);
        Ok(Box::new(Process {
            milliseconds: self.milliseconds,
            noise: self.noise,
            memory_bytes: self.memory_bytes,
            summary: self.summary,
            random: fastrand::Rng::with_seed(self.started.get()),
        }))
    }
}

impl Model for Process {
    fn summarize(&mut self, _: &str, parameters: &Map<String, Value>) -> Result<Made> {
        let beams = parameters["num_beams"].as_f64().expect("beams");
        let decode = self.milliseconds * beams * (1.0 + self.noise * self.random.f64());
        Ok(Made {
            milliseconds: Milliseconds { decode, ..Default::default() },
            summary: self.summary.into(),
            tokens: 2,
            steps: 2,
            ..Default::default()
        })
    }

    fn load_ms(&self) -> f64 {
        10.0
    }

    fn memory_bytes(&self) -> Option<u64> {
        self.memory_bytes
    }
}

fn fake(milliseconds: f64, noise: f64) -> Fake {
    let started = Cell::new((1e3 * milliseconds) as u64);
    Fake { milliseconds, noise, memory_bytes: Some(1 << 20), summary: "a cat", started }
}

fn compare(old: &Fake, new: &Fake) -> Regression {
    let document = |row| Document { row, text: "text".into(), summary: Some("a cat sat".into()) };
    let data = Dataset { documents: (1..=40).map(document).collect(), empty_rows: 0 };
    let settings = [1, 4].map(|beams| Setting::new(beams, 1.0, Stopping::False));
    let task = Task { data: &data, settings: &settings, parameters: Default::default() };
    let (summaries, decided) = measure(&task, [old, new], TOLERANCE, &()).expect("measured");
    let of = |samples: &Samples| {
        let record = DataRecord::new("data.csv", &data, samples);
        Results::new(ModelRecord::default(), record, &settings, samples)
    };
    let [a, b] = &summaries.samples;
    regression(of(a), &of(b), TOLERANCE, &decided, different(&a.list, &b.list))
}

#[test]
fn an_unchanged_model_is_kept() {
    let found = compare(&fake(20.0, 0.02), &fake(20.0, 0.02));
    assert_eq!(found.outcome, Outcome::Kept, "{}", found.verdict);
    assert!(found.verdict.starts_with("Not slower and not worse: times "), "{}", found.verdict);
    assert_eq!(found.different, Some(0.0));
    assert_eq!(found.figures.len(), 4);
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
}

#[test]
fn a_slower_model_is_told_with_its_setting() {
    let found = compare(&fake(20.0, 0.02), &fake(22.0, 0.02));
    assert_eq!(found.outcome, Outcome::Worse, "{}", found.verdict);
    let words = "Slower: a summary at num_beams ";
    assert!(found.verdict.starts_with(words), "{}", found.verdict);
    assert!(found.verdict.ends_with("% longer (tolerance 3%)"), "{}", found.verdict);
    assert!(matches!(found.method, Method::Interleaved { rounds: 10, .. }));
}

#[test]
fn a_model_that_is_faster_or_within_the_tolerance_is_kept() {
    for new in [15.0, 20.2] {
        let found = compare(&fake(20.0, 0.01), &fake(new, 0.01));
        assert_eq!(found.outcome, Outcome::Kept, "{}", found.verdict);
    }
}

#[test]
fn noise_is_called_noise() {
    let found = compare(&fake(2e3, 1.5), &fake(2e3, 1.5));
    assert_eq!(found.outcome, Outcome::Unclear, "{}", found.verdict);
    assert!(found.verdict.starts_with("Too noisy to tell: after 40 rounds"), "{}", found.verdict);
}

#[test]
fn memory_and_quality_count_too() {
    let more = Fake { memory_bytes: Some(3 << 19), ..fake(20.0, 0.01) };
    let found = compare(&fake(20.0, 0.01), &more);
    assert_eq!(found.verdict, "Needs 50.0% more memory (tolerance 3%)");
    let worse = Fake { summary: "a dog", ..fake(20.0, 0.01) };
    let found = compare(&fake(20.0, 0.01), &worse);
    assert_eq!(found.outcome, Outcome::Worse);
    assert!(found.verdict.starts_with("Worse: ROUGE-L 40.0 after 80.0"), "{}", found.verdict);
    assert_eq!(found.different, Some(1.0));
    let silent = Fake { memory_bytes: None, ..fake(20.0, 0.01) };
    assert_eq!(compare(&silent, &silent).figures.len(), 3);
}

/// Results whose times are `factor` times those of [`results`].
fn stored(factor: f64) -> Results {
    let mut results = results(true);
    for point in &mut results.points {
        point.latency_ms.p50 *= factor;
    }
    results
}

#[test]
fn times_of_another_run_are_believed_as_far_as_machines_drift() {
    let outcome = |factor, tolerance| {
        let found = against_results(stored(1.0), &stored(factor), tolerance);
        (found.outcome, found.verdict)
    };
    assert_eq!(outcome(1.0, DRIFT).0, Outcome::Kept);
    assert_eq!(outcome(1.1, DRIFT).0, Outcome::Kept);
    let (slower, verdict) = outcome(1.3, DRIFT);
    assert_eq!(slower, Outcome::Worse);
    assert!(verdict.contains("takes 30.0% longer"), "{verdict}");
    // A tolerance below the drift gives no answer, unless the slowdown exceeds the drift.
    let (unclear, verdict) = outcome(1.05, 0.03);
    assert_eq!(unclear, Outcome::Unclear);
    assert!(verdict.contains("only a slowdown of more than 15% is told"), "{verdict}");
    assert_eq!(outcome(1.3, 0.03).0, Outcome::Worse);
}

#[test]
fn times_of_another_machine_are_not_compared() {
    let mut new = stored(3.0);
    new.machine.cpu = "another".into();
    let found = against_results(stored(1.0), &new, DRIFT);
    assert_eq!(found.outcome, Outcome::Unclear);
    assert!(found.verdict.contains("the processor was"), "{}", found.verdict);
    // Quality does not depend on the machine.
    new.by_document.iter_mut().for_each(|document| document.rouge_l = 0.0);
    assert_eq!(against_results(stored(1.0), &new, DRIFT).outcome, Outcome::Worse);
}

#[test]
fn results_of_other_documents_are_refused() {
    let document = Document { row: 1, text: "a".into(), summary: None };
    let data = Dataset { documents: vec![document], empty_rows: 0 };
    let mut old = results(true);
    let refused = |old: &Results| check(old, &data).expect_err("refused").to_string();
    assert!(refused(&old).contains("are of other documents (2 of 'data.csv')"));
    old.data.digest = data.digest();
    check(&old, &data).expect("the same documents");
    old.interrupted = true;
    assert!(refused(&old).contains("ended early"));
}

#[test]
fn a_regression_survives_json() {
    let found = against_results(stored(1.0), &stored(1.2), TOLERANCE);
    let text = serde_json::to_string(&found).expect("JSON");
    assert_eq!(serde_json::from_str::<Regression>(&text).expect("a regression"), found);
}
