//! Settings and models that the benchmarks share.

#![allow(dead_code, reason = "each bench uses its own part")]

use std::env;
use std::time::Duration;

use criterion::Criterion;
use epitome_bench::fixtures::held_out;
use epitome_bench::models::Exported;
use epitome_bench::random_checkpoint::Shape;
use epitome_evaluation::data::{Dataset, Document};
use epitome_evaluation::settings::{Grid, Stopping};

/// Whether `EPITOME_BENCH=fast` is set, which measures a part of the suite in minutes.
pub(crate) fn fast() -> bool {
    env::var("EPITOME_BENCH").is_ok_and(|value| value == "fast")
}

/// A configuration with enough samples for a stable median. The whole suite has some two hundred
/// points.
pub(crate) fn criterion() -> Criterion {
    let (warm_up, measure) = if fast() { (100, 400) } else { (300, 1500) };
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(warm_up))
        .measurement_time(Duration::from_millis(measure))
        .configure_from_args()
}

/// The search settings of the suite.
pub(crate) fn grid() -> Grid {
    if fast() {
        Grid {
            num_beams: vec![1, 4],
            length_penalties: vec![0.5, 1.0, 2.0],
            early_stopping: vec![Stopping::True, Stopping::False],
        }
    } else {
        Grid::default()
    }
}

/// Held-out documents with their references.
pub(crate) fn documents(count: usize) -> Vec<Document> {
    let data = Dataset::read(&held_out(), Some(count));
    data.expect("the held-out pairs").documents
}

/// A model to measure, and its name in the groups.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) exported: Exported,
}

/// The trained model.
pub(crate) fn trained() -> Model {
    Model {
        name: "trained",
        exported: Exported::trained().expect("the trained model of the fixtures"),
    }
}

/// A random model with the shape of a real one: a small one, or with `EPITOME_BENCH_SHAPE=large`
/// that of google/pegasus-large.
pub(crate) fn shaped() -> Model {
    let large = env::var("EPITOME_BENCH_SHAPE").is_ok_and(|value| value == "large");
    let (name, shape) =
        if large { ("pegasus-large", Shape::PEGASUS_LARGE) } else { ("small", Shape::SMALL) };
    Model { name, exported: Exported::random(&shape).expect("a random model") }
}
