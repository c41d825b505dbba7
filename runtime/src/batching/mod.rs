//! Continuous batching: a document joins the running steps as soon as it is encoded, and leaves
//! when it is finished.
//!
//! * `latencies`: how long encoders and steps take, learned while they run.
//! * `admission`: which moment is right for the next document to join.

mod admission;
mod latencies;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use admission::Bounds;
use admission::Runner;
use latencies::Latencies;

use crate::error::{Error, Result};
use crate::generation::{
    GenerateError, Generated, GenerationConfig, Observer, Searches, Source, StepModel, StopReason,
    check,
};
use crate::session::{Decoder, Decoding, Encoder};

/// A document to generate for.
pub struct Task {
    /// Its number in reports; no other that runs has it.
    pub document: usize,
    /// Tokens for the encoder.
    pub ids: Vec<u32>,
    /// What its search knows of it.
    pub source: Source,
    /// How to generate.
    pub config: Arc<GenerationConfig>,
}

/// What the next document asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Decoder rows.
    pub rows: usize,
    /// Tokens of its source, or a guess.
    pub tokens: usize,
    /// Tokens of each row's history at most.
    pub longest: usize,
}

impl Next {
    /// What a document with these parameters asks for.
    pub fn new(config: &GenerationConfig, tokens: usize) -> Self {
        Self { rows: config.rows_per_document(), tokens, longest: config.longest_history() }
    }

    fn history(&self) -> usize {
        self.rows.saturating_mul(self.longest)
    }
}

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// That all are finished soon: nobody waits for a single one.
    Throughput,
    /// That each is finished soon.
    Latency,
}

/// Documents that wait, and who is told of them.
pub trait Documents {
    /// How many wait, and what the next of them asks for.
    fn waiting(&mut self) -> Option<(usize, Next)>;

    /// Whether the next one and those that run are to be finished soon each, or all together. Asked
    /// after [`waiting`](Self::waiting).
    fn goal(&self) -> Goal {
        Goal::Throughput
    }

    /// Takes the next one. `None` where there was none, or it came to nothing.
    fn take(&mut self) -> Option<Task>;

    /// A document was encoded, and decodes from now on.
    fn encoded(&mut self, document: usize, took: Duration) {
        let _ = (document, took);
    }

    /// Whether nobody waits for the document any more. Asked before each step.
    fn cancelled(&mut self, document: usize) -> bool;

    /// A token became final. Only greedy search and sampling call this.
    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        let _ = (document, sequence, token);
    }

    /// A document is finished, or failed.
    fn ended(&mut self, document: usize, outcome: Result<Generated>);
}

/// Runs documents through encoder and decoder, and knows how long that takes.
pub(crate) struct Batcher {
    pub(crate) encoder: Encoder,
    pub(crate) decoder: Decoder,
    pub(crate) bounds: Bounds,
    latencies: Latencies,
    threads: usize,
}

impl Batcher {
    /// Runs with so many threads.
    pub(crate) fn new(encoder: Encoder, decoder: Decoder, bounds: Bounds, threads: usize) -> Self {
        Self { encoder, decoder, bounds, latencies: Latencies::default(), threads }
    }

    /// Runs until no document waits and none runs. Between two steps there is one encoder at most.
    ///
    /// # Errors
    /// Where a step fails: no document that was taken and has not ended will.
    pub(crate) fn run(&mut self, documents: &mut dyn Documents) -> Result<()> {
        let mut decoding = self.decoder.start()?;
        let mut searches = Searches::new(self.threads, self.bounds.rows);
        let mut rows_before = 0;
        let mut running = Running { documents, latencies: &mut self.latencies, sizes: Vec::new() };
        loop {
            let next = running.documents.waiting();
            let goal = running.documents.goal();
            let joins = next.filter(|(waiting, next)| {
                let sizes = running.sizes.iter().map(|(_, size)| size);
                let runners = searches.progress().map(|(rows, steps)| Runner { rows, steps });
                let runners: Vec<_> = runners.collect();
                searches.is_empty()
                    || (self.bounds.admit(next, sizes)
                        && admission::is_time(goal, running.latencies, next, *waiting, &runners))
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
            // A step of other rows than the one before makes tensors anew.
            if rows > 0 && std::mem::replace(&mut rows_before, rows) == rows {
                running.latencies.stepped(rows, start.elapsed());
            }
        }
    }
}

/// Encodes a document, and lets it join.
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
    let size = Next::new(&config, ids.len());
    check(decoding.vocab_size(), &config).map_err(GenerateError::of_model::<Error>)?;
    let place = decoding.join(memory, config.rows_per_document())?;
    searches.start(document, place, &source, config).inspect_err(|_| decoding.leave(place))?;
    running.sizes.push((document, size));
    Ok(())
}

/// The documents that run.
struct Running<'a> {
    documents: &'a mut dyn Documents,
    latencies: &'a mut Latencies,
    /// By number, what each asked for.
    sizes: Vec<(usize, Next)>,
}

impl Observer for Running<'_> {
    fn cancelled(&mut self, document: usize) -> bool {
        self.documents.cancelled(document)
    }

    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        self.documents.token(document, sequence, token);
    }

    fn ended(
        &mut self,
        document: usize,
        outcome: std::result::Result<Generated, GenerateError<Infallible>>,
    ) {
        self.sizes.retain(|(number, _)| *number != document);
        if let Ok(generated) = &outcome
            && generated.stopped != StopReason::Cancelled
        {
            self.latencies.finished(generated.steps);
        }
        let outcome = outcome.map_err(|error| Error::from(error.of_model::<Error>()));
        self.documents.ended(document, outcome);
    }
}
