//! Counters and histograms, in the text format of Prometheus.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use epitome_runtime::Summary;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    code: u16,
}

/// All metrics.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Histogram,
    queue_depth: Gauge,
    batch_documents: Histogram,
    tokens_in: Counter,
    tokens_out: Counter,
    truncated: Counter,
    cancelled: Counter,
    panics: Counter,
    encode_seconds: Histogram,
    step_seconds: Histogram,
    /// Serializes scrapes, so that each shows the current queue.
    scrape: Mutex<()>,
}

/// Buckets from 1 ms to about 65 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

impl Metrics {
    /// Creates metrics that are all zero.
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("epitome"),
            requests: Family::default(),
            request_seconds: seconds(),
            queue_depth: Gauge::default(),
            batch_documents: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]),
            tokens_in: Counter::default(),
            tokens_out: Counter::default(),
            truncated: Counter::default(),
            cancelled: Counter::default(),
            panics: Counter::default(),
            encode_seconds: seconds(),
            step_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 15)),
            scrape: Mutex::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "requests",
            "Requests answered, by route and status code; 499 is a client that hung up",
            self.requests.clone(),
        );
        registry.register(
            "request_seconds",
            "Time from a request's head to its answer",
            self.request_seconds.clone(),
        );
        registry.register(
            "queue_depth",
            "Requests that wait for a worker",
            self.queue_depth.clone(),
        );
        registry.register(
            "batch_documents",
            "Documents that a worker had when it took another, which included",
            self.batch_documents.clone(),
        );
        registry.register("source_tokens", "Source tokens that were read", self.tokens_in.clone());
        registry.register(
            "generated_tokens",
            "Tokens that were generated",
            self.tokens_out.clone(),
        );
        registry.register(
            "truncated_documents",
            "Documents that were longer than the model reads",
            self.truncated.clone(),
        );
        registry.register(
            "cancelled_documents",
            "Documents that nobody waited for any more",
            self.cancelled.clone(),
        );
        registry.register(
            "worker_panics",
            "Workers that panicked and were started again",
            self.panics.clone(),
        );
        registry.register(
            "encode_seconds",
            "Time of the encoder for a document",
            self.encode_seconds.clone(),
        );
        registry.register(
            "step_seconds",
            "Mean time of a decoder step while a document was decoded",
            self.step_seconds.clone(),
        );
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, route: &str, code: u16, took: Duration) {
        self.requests.get_or_create(&RequestLabels { route: route.to_owned(), code }).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// Records that a worker took a document and now has this number of them.
    pub(crate) fn joined(&self, documents: usize) {
        self.batch_documents.observe(documents as f64);
    }

    /// Counts a finished summary.
    pub(crate) fn summarized(&self, summary: &Summary) {
        let generated = |ids: &[u32]| ids.len().saturating_sub(1) as u64;
        let tokens_out = summary.sequences.iter().map(|sequence| generated(&sequence.token_ids));
        self.tokens_in.inc_by(summary.input_tokens as u64);
        self.tokens_out.inc_by(tokens_out.sum());
        self.truncated.inc_by(u64::from(summary.truncated));
        self.encode_seconds.observe(summary.timing.encode.as_secs_f64());
        let steps = summary.steps.max(1) as f64;
        self.step_seconds.observe(summary.timing.decode.as_secs_f64() / steps);
    }

    /// Counts a cancelled document: its client hung up, or its deadline passed.
    pub(crate) fn cancelled(&self) {
        self.cancelled.inc();
    }

    /// Counts a panic of a worker.
    pub(crate) fn worker_panicked(&self) {
        self.panics.inc();
    }

    /// All metrics in the text format of Prometheus.
    pub(crate) fn render(&self, waiting: usize) -> String {
        let _one = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.queue_depth.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("a string takes all text");
        text
    }
}
