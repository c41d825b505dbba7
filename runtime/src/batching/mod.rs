//! Continuous batching: a document joins the running ones as soon as it is encoded, and leaves when
//! it is finished.
//!
//! * `demand`: the demand of a document, and the goal of the batcher.
//! * `latencies`: measured times of encoders and decoder steps.
//! * `admission`: decides when the next document joins.

mod admission;
mod demand;
mod latencies;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use admission::Bounds;
use admission::Runner;
pub use demand::{Demand, Goal};
use latencies::Latencies;

use crate::error::{Error, Result};
use crate::generation::{
    GenerateError, Generated, GenerationConfig, SearchResult, Searches, Source, StepModel,
    StopReason, check,
};
use crate::observer::Observer;
use crate::session::{Decoder, Decoding, Encoder};

/// A document to generate for.
pub struct Task {
    /// Number of the document in reports, unique among the documents that run.
    pub document: usize,
    /// Token ids for the encoder.
    pub ids: Vec<u32>,
    /// Source of the search.
    pub source: Source,
    /// Configuration of the search.
    pub config: Arc<GenerationConfig>,
}

/// Documents that wait to be encoded and decoded.
pub trait Documents: Observer<Result<Generated>> {
    /// The number of waiting documents, and the demand of the next one.
    fn waiting(&mut self) -> Option<(usize, Demand)>;

    /// Whether to optimize throughput or latency. Called after [`waiting`](Self::waiting), where it
    /// decides whether the next document joins.
    fn goal(&self) -> Goal {
        Goal::Throughput
    }

    /// Takes the next document. `None` if there is none, or if it failed before it was encoded.
    fn take(&mut self) -> Option<Task>;

    /// A document was encoded in this time; its decoding begins.
    fn encoded(&mut self, document: usize, took: Duration) {
        let _ = (document, took);
    }
}

/// Runs documents through encoder and decoder, and measures how long they take.
pub(crate) struct Batcher {
    pub(crate) encoder: Encoder,
    pub(crate) decoder: Decoder,
    pub(crate) bounds: Bounds,
    latencies: Latencies,
    threads: usize,
}

impl Batcher {
    /// `threads` is the number of threads for the searches.
    pub(crate) fn new(encoder: Encoder, decoder: Decoder, bounds: Bounds, threads: usize) -> Self {
        Self { encoder, decoder, bounds, latencies: Latencies::default(), threads }
    }

    /// Runs until no document waits and none runs. At most one document is encoded between two
    /// decoder steps.
    ///
    /// # Errors
    /// If a decoder step fails. Documents that were taken and have not ended are not reported.
    pub(crate) fn run(&mut self, documents: &mut dyn Documents) -> Result<()> {
        let mut decoding = self.decoder.start()?;
        let mut searches = Searches::new(self.threads, self.bounds.rows);
        let mut rows_before = 0;
        let mut running =
            Running { documents, latencies: &mut self.latencies, demands: Vec::new() };
        loop {
            let next = running.documents.waiting();
            let joins = next.filter(|(waiting, next)| {
                if searches.is_empty() {
                    return true;
                }
                let demands = running.demands.iter().map(|(_, demand)| demand);
                if !self.bounds.admit(next, demands) {
                    return false;
                }
                let goal = running.documents.goal();
                let runners = searches.progress().map(|(rows, steps)| Runner { rows, steps });
                let runners: Vec<_> = runners.collect();
                admission::is_time(goal, running.latencies, next, *waiting, &runners)
            });
            if joins.is_some()
                && let Some(task) = running.documents.take()
            {
                let document = task.document;
                if let Err(error) =
                    join(&mut self.encoder, &mut decoding, &mut searches, &mut running, task)
                {
                    running.documents.ended(document, Err(error));
                }
            }
            if searches.is_empty() {
                if next.is_none() {
                    return Ok(());
                }
                continue;
            }
            let start = Instant::now();
            let rows = searches.step(&mut decoding, &mut running)?;
            // A step with another number of rows than the one before also allocates tensors.
            if rows > 0 && std::mem::replace(&mut rows_before, rows) == rows {
                running.latencies.stepped(rows, start.elapsed());
            }
        }
    }
}

/// Encodes a document and adds it to the running ones.
fn join(
    encoder: &mut Encoder,
    decoding: &mut Decoding<'_>,
    searches: &mut Searches,
    running: &mut Running<'_>,
    task: Task,
) -> Result<()> {
    let Task { document, ids, source, config } = task;
    let start = Instant::now();
    let memory = encoder.encode_with(&ids, config.global_attention_mask())?;
    let took = start.elapsed();
    running.latencies.encoded(ids.len(), took);
    running.documents.encoded(document, took);
    let demand = Demand::new(&config, ids.len());
    check(decoding.vocab_size(), &config).map_err(GenerateError::of_model::<Error>)?;
    let slot = decoding.join(memory, config.rows_per_document())?;
    searches.start(document, slot, &source, config).inspect_err(|_| decoding.leave(slot))?;
    running.demands.push((document, demand));
    Ok(())
}

/// The running documents.
struct Running<'a> {
    documents: &'a mut dyn Documents,
    latencies: &'a mut Latencies,
    /// Number and demand of each document.
    demands: Vec<(usize, Demand)>,
}

impl Observer<SearchResult> for Running<'_> {
    fn cancelled(&mut self, document: usize) -> bool {
        self.documents.cancelled(document)
    }

    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        self.documents.token(document, sequence, token);
    }

    fn ended(&mut self, document: usize, result: SearchResult) {
        self.demands.retain(|(number, _)| *number != document);
        if let Ok(generated) = &result
            && generated.stopped != StopReason::Cancelled
        {
            self.latencies.finished(generated.steps);
        }
        let result = result.map_err(|error| Error::from(error.of_model::<Error>()));
        self.documents.ended(document, result);
    }
}
