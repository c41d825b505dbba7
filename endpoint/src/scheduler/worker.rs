//! A worker: a thread with a model of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use epitome_runtime::batching::{Goal, Next};
use epitome_runtime::generation::{GenerationConfig, StopReason};
use epitome_runtime::summarizer::{TextModel, Texts, tokens_of_bytes};
use epitome_runtime::tokenizer::{Detokenizer, Tokenizer};
use epitome_runtime::{Progress, Summary};

use super::engine::{Engine, OpenEngine};
use super::queue::Front;
use super::request::{Demand, Event, TakenDocument, Token};
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

/// Works on documents. Whether it ended because the queue was closed, not because of a panic.
fn serve(state: &State, engine: &mut dyn Engine) -> bool {
    while let Some(front) = state.queue.wait() {
        let mut running = Running::new(state, engine.tokenizer().cloned());
        let outcome = catch_unwind(AssertUnwindSafe(|| match front.long {
            true => running.run_long(engine, &front),
            false => engine.run(&mut running),
        }));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => running.fail_all(&error.into()),
            Err(panic) => {
                tracing::error!(
                    panic = panic_message(&*panic),
                    "a worker panicked and is started again"
                );
                state.metrics.worker_panicked();
                // Before the clients are told, so that they find the server as it is.
                state.worker_stopped();
                running.fail_all(&ApiError::WorkerFailed);
                return false;
            }
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

/// The documents that a worker took and that have not ended.
struct Running<'a> {
    state: &'a State,
    tokenizer: Option<Tokenizer>,
    /// By number; those that ended are none.
    documents: Vec<Option<Taken>>,
    /// The next document, as the engine was told of it.
    next: Option<Front>,
}

/// A document that a worker took.
struct Taken {
    document: TakenDocument,
    /// What turns its tokens into text, once its stream has begun.
    detokenizer: Option<Detokenizer>,
    started: Instant,
}

impl<'a> Running<'a> {
    fn new(state: &'a State, tokenizer: Option<Tokenizer>) -> Self {
        Self { state, tokenizer, documents: Vec::new(), next: None }
    }

    /// Takes the next document from the queue, where it is the expected one or asks for no more.
    fn take(&mut self, expected: &Front) -> Option<usize> {
        let document = self.state.queue.take(expected)?;
        let taken = Taken { document, detokenizer: None, started: Instant::now() };
        let free = self.documents.iter().position(Option::is_none);
        let number = free.unwrap_or(self.documents.len());
        match free {
            Some(number) => self.documents[number] = Some(taken),
            None => self.documents.push(Some(taken)),
        }
        let together = self.documents.iter().flatten().count();
        self.state.metrics.joined(together);
        Some(number)
    }

    fn taken(&self, number: usize) -> &TakenDocument {
        &self.documents[number].as_ref().expect("it has not ended").document
    }

    /// Summarizes a document that may be longer than the window, alone. Its parts are decoded
    /// together; one that fits the window has a single part.
    fn run_long(&mut self, engine: &mut dyn Engine, front: &Front) -> epitome_runtime::Result<()> {
        let Some(number) = self.take(front) else { return Ok(()) };
        let parameters = self.taken(number).parameters.clone();
        let options = parameters.long.unwrap_or_default();
        let text = self.taken(number).document.text.as_str().to_owned();
        engine.run_long(
            &text,
            &options,
            &parameters.generation,
            &mut Only { running: self, number },
        )
    }

    /// Reports a token of a streamed document.
    fn stream(&mut self, number: usize, id: u32) {
        let Some(taken) = &mut self.documents[number] else { return };
        let (text, special) = match &self.tokenizer {
            Some(tokenizer) => {
                let detokenizer = taken.detokenizer.get_or_insert_with(|| tokenizer.detokenizer());
                // Text that is not certain yet comes with the finished summary.
                let text = detokenizer.push(id).ok().flatten();
                (text.unwrap_or_default(), tokenizer.is_special(id))
            }
            None => (String::new(), false),
        };
        taken.document.reply.report(Event::Token(Token { id, text, special }));
    }

    /// Reports the tokens of a summary that was decided at its end, where they make its text.
    fn stream_all(&mut self, number: usize, summary: &Summary) {
        let (Some(tokenizer), Some(best)) = (&self.tokenizer, summary.sequences.first()) else {
            return;
        };
        let generated = best.token_ids.get(1..).unwrap_or_default();
        // A long document's parts were decoded one by one.
        if tokenizer.decode(generated).is_ok_and(|text| text == best.text) {
            for id in generated {
                self.stream(number, *id);
            }
        }
    }

    /// Reports how a document ended.
    fn end(&mut self, number: usize, outcome: Result<Summary, ApiError>) {
        let reply = self.taken(number).reply.clone();
        let outcome = outcome.and_then(|summary| match summary.stopped {
            StopReason::Cancelled => {
                self.state.metrics.cancelled();
                Err(ApiError::Deadline(reply.deadline - reply.queued))
            }
            _ => Ok(summary),
        });
        if let Ok(summary) = &outcome {
            let streamed = |taken: &Taken| taken.detokenizer.is_some();
            if reply.stream && !self.documents[number].as_ref().is_some_and(streamed) {
                self.stream_all(number, summary);
            }
        }
        let Some(Taken { document: taken, started, .. }) = self.documents[number].take() else {
            return;
        };
        let document = taken.document.number;
        reply.report(match outcome {
            Ok(summary) => {
                self.state.metrics.summarized(&summary);
                self.state.queue.finished(started);
                let waited = started - reply.queued;
                Event::Finished { document, summary: Box::new(summary), waited }
            }
            // Those are the request's.
            Err(error @ (ApiError::Deadline(_) | ApiError::WorkerFailed)) => Event::Failed(error),
            Err(error) => Event::DocumentFailed { document, error },
        });
    }

    /// All that have not ended fail.
    fn fail_all(&mut self, error: &ApiError) {
        for number in 0..self.documents.len() {
            if self.documents[number].is_some() {
                self.end(number, Err(error.clone()));
            }
        }
    }
}

impl Texts for Running<'_> {
    fn waiting(&mut self) -> Option<(usize, Next)> {
        let runs = self.documents.iter().any(Option::is_some);
        self.next = None;
        let (waiting, front) = self.state.queue.waiting(runs)?;
        self.next = Some(front);
        let Demand { rows, longest } = front.demand;
        // A long one's turn comes when those that run have left.
        let next = Next { rows, tokens: tokens_of_bytes(front.bytes), longest };
        (!front.long).then_some((waiting, next))
    }

    fn goal(&self) -> Goal {
        // All documents of a request are answered at once: nobody waits for a single one.
        let only = self.next.as_ref().and_then(|next| next.only);
        let mut running = self.documents.iter().flatten().map(|taken| taken.document.reply.id());
        match only {
            Some(only) if running.all(|request| request == only) => Goal::Throughput,
            _ => Goal::Latency,
        }
    }

    fn take(&mut self) -> Option<usize> {
        let expected = self.next.take().filter(|front| !front.long)?;
        Running::take(self, &expected)
    }

    fn text(&self, number: usize) -> &str {
        self.taken(number).document.text.as_str()
    }

    fn config(
        &self,
        number: usize,
        model: &TextModel,
    ) -> epitome_runtime::Result<Arc<GenerationConfig>> {
        model.configure(&self.taken(number).parameters.generation).map(Arc::new)
    }

    fn cancelled(&mut self, number: usize) -> bool {
        self.taken(number).reply.is_abandoned()
    }

    fn token(&mut self, number: usize, sequence: usize, token: u32) {
        // The best sequence is known at the end only; a stream shows the first.
        if sequence == 0 && self.taken(number).reply.stream {
            self.stream(number, token);
        }
    }

    fn ended(&mut self, number: usize, outcome: epitome_runtime::Result<Summary>) {
        self.end(number, outcome.map_err(ApiError::from));
    }
}

/// Follows a document that runs alone.
struct Only<'a, 'b> {
    running: &'a mut Running<'b>,
    number: usize,
}

impl Progress for Only<'_, '_> {
    fn token(&mut self, _: usize, sequence: usize, token: u32) {
        Texts::token(&mut *self.running, self.number, sequence, token);
    }

    fn summarized(&mut self, _: usize, summary: Summary) {
        self.running.end(self.number, Ok(summary));
    }

    fn document_cancelled(&mut self, _: usize) -> bool {
        self.running.documents[self.number].is_some() && self.running.cancelled(self.number)
    }
}
