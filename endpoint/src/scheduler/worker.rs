//! A worker: a thread with a model of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use epitome_runtime::generation::StopReason;
use epitome_runtime::tokenizer::{Detokenizer, Tokenizer};
use epitome_runtime::{Progress, Summary};

use super::engine::{Engine, OpenEngine};
use super::latency_model::Sample;
use super::queue::Batch;
use super::request::{Event, TakenDocument, Token};
use super::state::State;
use crate::error::ApiError;

/// How long to wait before a model that did not open is tried again: the first time, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Works until the queue is closed and empty; opens the model again after a panic.
pub(super) fn run(state: &Arc<State>, open: &OpenEngine) {
    let mut backoff = BACKOFF.0;
    while !state.queue.is_closed() {
        // Opening runs foreign code over a file that may be bad.
        let opened = catch_unwind(AssertUnwindSafe(open))
            .unwrap_or_else(|panic| Err(panic_message(&*panic).into()));
        match opened {
            Ok(mut engine) => {
                backoff = BACKOFF.0;
                state.worker_started();
                if serve(state, &mut *engine) {
                    state.worker_stopped();
                    return;
                }
            }
            Err(error) => {
                let reason = error.to_string();
                if state.worker_failed(reason.clone()) {
                    tracing::error!(reason, "the model cannot be opened");
                }
                state.drop_orphans();
                state.queue.wait_closed(backoff);
                backoff = (backoff * 2).min(BACKOFF.1);
            }
        }
    }
    state.drop_orphans();
}

/// Works on batches. Whether it ended because the queue was closed, not because of a panic.
fn serve(state: &State, engine: &mut dyn Engine) -> bool {
    while let Some(batch) = state.queue.next() {
        let started = Instant::now();
        state.metrics.batch_started(batch.documents.len());
        let mut running = Running::new(state, &batch.documents, engine, started);
        let outcome = catch_unwind(AssertUnwindSafe(|| running.run(engine, &batch)));
        if let Err(panic) = outcome {
            tracing::error!(
                panic = panic_message(&*panic),
                "a worker panicked and is started again"
            );
            state.metrics.worker_panicked();
            // Before the clients are told, so that they find the server as it is.
            state.worker_stopped();
            running.fail_unfinished(&ApiError::WorkerFailed);
            return false;
        }
    }
    true
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}

/// A batch on its way through the engine.
struct Running<'a> {
    state: &'a State,
    documents: &'a [TakenDocument],
    tokenizer: Option<Tokenizer>,
    /// For each document whose stream has begun: what turns its tokens into text.
    detokenizers: Vec<Option<Detokenizer>>,
    done: Vec<bool>,
    started: Instant,
    /// Places in the batch of the documents of the current call, which the engine numbers from 0.
    call: Vec<usize>,
    /// Times of the documents of the call that are finished.
    samples: Vec<Sample>,
}

impl<'a> Running<'a> {
    fn new(
        state: &'a State,
        documents: &'a [TakenDocument],
        engine: &dyn Engine,
        started: Instant,
    ) -> Self {
        let streams = documents.iter().any(|taken| taken.reply.stream);
        Self {
            state,
            documents,
            tokenizer: engine.tokenizer().filter(|_| streams).cloned(),
            detokenizers: documents.iter().map(|_| None).collect(),
            done: vec![false; documents.len()],
            started,
            call: Vec::new(),
            samples: Vec::new(),
        }
    }

    fn run(&mut self, engine: &mut dyn Engine, batch: &Batch) {
        let all: Vec<usize> = (0..self.documents.len()).collect();
        let Err(error) = self.attempt(engine, batch, all) else {
            return;
        };
        let unfinished: Vec<usize> =
            (0..self.documents.len()).filter(|&place| !self.done[place]).collect();
        if self.documents.len() == 1 {
            return self.fail_unfinished(&error);
        }
        // One document's failure is not the others': each is tried alone. What was streamed cannot
        // be taken back.
        for place in unfinished {
            if self.documents[place].reply.stream {
                self.fail(place, error.clone());
            } else if let Err(error) = self.attempt(engine, batch, vec![place]) {
                self.fail(place, error);
            }
        }
    }

    /// Reports a token of a streamed document.
    fn stream(&mut self, place: usize, id: u32) {
        let (text, special) = match &self.tokenizer {
            Some(tokenizer) => {
                let detokenizer =
                    self.detokenizers[place].get_or_insert_with(|| tokenizer.detokenizer());
                // Text that is not certain yet comes with the finished summary.
                let text = detokenizer.push(id).ok().flatten();
                (text.unwrap_or_default(), tokenizer.is_special(id))
            }
            None => (String::new(), false),
        };
        self.documents[place].reply.report(Event::Token(Token { id, text, special }));
    }

    /// Reports the tokens of a summary that was decided at its end, where they make its text.
    fn stream_all(&mut self, place: usize, summary: &Summary) {
        let (Some(tokenizer), Some(best)) = (&self.tokenizer, summary.sequences.first()) else {
            return;
        };
        let generated = best.token_ids.get(1..).unwrap_or_default();
        // A long document's parts were decoded one by one.
        if tokenizer.decode(generated).is_ok_and(|text| text == best.text) {
            for id in generated {
                self.stream(place, *id);
            }
        }
    }

    fn attempt(
        &mut self,
        engine: &mut dyn Engine,
        batch: &Batch,
        call: Vec<usize>,
    ) -> Result<(), ApiError> {
        let documents = self.documents;
        let text = |&place: &usize| documents[place].document.text.as_str();
        let texts: Vec<&str> = call.iter().map(text).collect();
        self.call = call;
        self.samples.clear();
        engine.run(&texts, &batch.parameters, self)?;
        let samples = std::mem::take(&mut self.samples);
        self.state.queue.observe(batch.rows_per_document, samples);
        Ok(())
    }

    fn fail(&mut self, place: usize, error: ApiError) {
        if !std::mem::replace(&mut self.done[place], true) {
            let TakenDocument { document, reply } = &self.documents[place];
            reply.report(match error {
                // Those are the request's.
                ApiError::Deadline(_) | ApiError::WorkerFailed => Event::Failed(error),
                error => Event::DocumentFailed { document: document.number, error },
            });
        }
    }

    fn fail_unfinished(&mut self, error: &ApiError) {
        for place in 0..self.documents.len() {
            self.fail(place, error.clone());
        }
    }
}

impl Progress for Running<'_> {
    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        let place = self.call[document];
        // The best sequence is known at the end only; a stream shows the first.
        if sequence != 0 || !self.documents[place].reply.stream {
            return;
        }
        self.stream(place, token);
    }

    fn summarized(&mut self, document: usize, summary: Summary) {
        let place = self.call[document];
        let documents = self.documents;
        let TakenDocument { document, reply } = &documents[place];
        // A long document takes the time of many, and one that was cancelled early none.
        if summary.read.is_none() && summary.steps > 0 {
            self.samples.push(Sample::from(&summary));
        }
        if summary.stopped == StopReason::Cancelled {
            self.state.metrics.cancelled();
            return self.fail(place, ApiError::Deadline(reply.deadline - reply.queued));
        }
        self.state.metrics.summarized(&summary);
        self.done[place] = true;
        if reply.stream && self.detokenizers[place].is_none() {
            self.stream_all(place, &summary);
        }
        reply.report(Event::Finished {
            document: document.number,
            summary: Box::new(summary),
            waited: self.started - reply.queued,
        });
    }

    fn document_cancelled(&mut self, document: usize) -> bool {
        self.documents[self.call[document]].reply.is_abandoned()
    }
}
