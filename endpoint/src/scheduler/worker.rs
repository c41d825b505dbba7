//! A worker: a thread with its own model.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use epitome_runtime::batching::{Demand, Goal};
use epitome_runtime::generation::{GenerationConfig, StopReason};
use epitome_runtime::observer::Observer;
use epitome_runtime::summarizer::{TextModel, Texts};
use epitome_runtime::tokenizer::{Detokenizer, Tokenizer};
use epitome_runtime::{Progress, Summary};

use super::engine::{Engine, OpenEngine};
use super::queue::NextDocument;
use super::request::{Event, TakenDocument, Token};
use super::state::State;
use crate::error::ApiError;

/// How long to wait before opening a failed model again: the first time, and the maximum.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Works until the queue is closed and empty. Opens the model again after a panic.
pub(super) fn run(state: &Arc<State>, open: &OpenEngine) {
    let mut backoff = BACKOFF.0;
    while !state.queue.is_closed() {
        // Opening runs foreign code on a file that may be corrupt.
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

/// Works on documents. Returns true if the queue was closed, and false after a panic.
fn serve(state: &State, engine: &mut dyn Engine) -> bool {
    while let Some(next) = state.queue.wait() {
        let mut running = Running::new(state, engine.tokenizer().cloned());
        let outcome = catch_unwind(AssertUnwindSafe(|| match next.long {
            true => running.run_long(engine, &next),
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
                // Before the clients are told, so that they see the new health.
                state.worker_stopped();
                running.fail_all(&ApiError::WorkerFailed);
                return false;
            }
        }
    }
    true
}

/// The message of a panic.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}

/// The documents that a worker took and that have not ended.
struct Running<'a> {
    state: &'a State,
    tokenizer: Option<Tokenizer>,
    /// Documents by number; `None` for each that ended.
    documents: Vec<Option<Taken>>,
    /// The next document, as reported to the engine.
    next: Option<NextDocument>,
}

/// A document that a worker took.
struct Taken {
    document: TakenDocument,
    /// Decodes the tokens of a stream; `None` before its first token.
    detokenizer: Option<Detokenizer>,
    started: Instant,
}

impl<'a> Running<'a> {
    fn new(state: &'a State, tokenizer: Option<Tokenizer>) -> Self {
        Self { state, tokenizer, documents: Vec::new(), next: None }
    }

    /// Takes the next document from the queue, if it is the expected one or demands no more.
    fn take(&mut self, expected: &NextDocument) -> Option<usize> {
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

    /// Summarizes a document that may be longer than the window. It runs alone, so its number is 0
    /// here and in the engine's call.
    fn run_long(
        &mut self,
        engine: &mut dyn Engine,
        next: &NextDocument,
    ) -> epitome_runtime::Result<()> {
        let Some(number) = self.take(next) else { return Ok(()) };
        let parameters = self.taken(number).parameters.clone();
        let options = parameters.long.unwrap_or_default();
        let text = self.taken(number).document.text.as_str().to_owned();
        engine.run_long(&text, &options, &parameters.generation, self)
    }

    /// Reports a token of a document, if it is streamed.
    fn report_token(&mut self, number: usize, sequence: usize, token: u32) {
        // The best sequence is known at the end only; a stream shows the first.
        if sequence == 0 && self.taken(number).reply.stream {
            self.stream(number, token);
        }
    }

    /// Reports a token of a streamed document.
    fn stream(&mut self, number: usize, id: u32) {
        let Some(taken) = &mut self.documents[number] else { return };
        let (text, special) = match &self.tokenizer {
            Some(tokenizer) => {
                let detokenizer = taken.detokenizer.get_or_insert_with(|| tokenizer.detokenizer());
                // Text that later tokens may change is sent with the finished summary.
                let text = detokenizer.push(id).ok().flatten();
                (text.unwrap_or_default(), tokenizer.is_special(id))
            }
            None => (String::new(), false),
        };
        taken.document.reply.report(Event::Token(Token { id, text, special }));
    }

    /// Reports all tokens of a finished summary, if they decode to its text.
    fn stream_all(&mut self, number: usize, summary: &Summary) {
        let (Some(tokenizer), Some(best)) = (&self.tokenizer, summary.sequences.first()) else {
            return;
        };
        let generated = best.token_ids.get(1..).unwrap_or_default();
        // The text of a long document is joined from parts, so its tokens may not decode to it.
        if tokenizer.decode(generated).is_ok_and(|text| text == best.text) {
            for id in generated {
                self.stream(number, *id);
            }
        }
    }

    /// Reports the result of a document.
    fn end(&mut self, number: usize, result: Result<Summary, ApiError>) {
        let reply = self.taken(number).reply.clone();
        let result = result.and_then(|summary| match summary.stopped {
            StopReason::Cancelled => {
                self.state.metrics.cancelled();
                Err(ApiError::Deadline(reply.deadline - reply.queued))
            }
            _ => Ok(summary),
        });
        if let Ok(summary) = &result {
            let streamed = |taken: &Taken| taken.detokenizer.is_some();
            if reply.stream && !self.documents[number].as_ref().is_some_and(streamed) {
                self.stream_all(number, summary);
            }
        }
        let Some(Taken { document: taken, started, .. }) = self.documents[number].take() else {
            return;
        };
        let document = taken.document.number;
        reply.report(match result {
            Ok(summary) => {
                self.state.metrics.summarized(&summary);
                self.state.queue.finished(started);
                let waited = started - reply.queued;
                Event::Finished { document, summary: Box::new(summary), waited }
            }
            // These errors concern the whole request.
            Err(error @ (ApiError::Deadline(_) | ApiError::WorkerFailed)) => Event::Failed(error),
            Err(error) => Event::DocumentFailed { document, error },
        });
    }

    /// Ends all documents that have not ended with this error.
    fn fail_all(&mut self, error: &ApiError) {
        for number in 0..self.documents.len() {
            if self.documents[number].is_some() {
                self.end(number, Err(error.clone()));
            }
        }
    }
}

impl Texts for Running<'_> {
    fn waiting(&mut self) -> Option<(usize, Demand)> {
        let runs = self.documents.iter().any(Option::is_some);
        self.next = None;
        let (waiting, next) = self.state.queue.waiting(runs)?;
        self.next = Some(next);
        // A long document waits until the running ones have left.
        (!next.long).then_some((waiting, next.demand))
    }

    /// Throughput, if the running documents and the next one belong to one request, which is not
    /// streamed, and no other request waits. It is answered when all its documents are finished.
    fn goal(&self) -> Goal {
        let only = self.next.as_ref().and_then(|next| next.only);
        let mut running = self.documents.iter().flatten().map(|taken| taken.document.reply.id());
        match only {
            Some(only) if running.all(|request| request == only) => Goal::Throughput,
            _ => Goal::Latency,
        }
    }

    fn take(&mut self) -> Option<usize> {
        let expected = self.next.take().filter(|next| !next.long)?;
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
}

impl Observer<epitome_runtime::Result<Summary>> for Running<'_> {
    fn cancelled(&mut self, number: usize) -> bool {
        self.taken(number).reply.is_abandoned()
    }

    fn token(&mut self, number: usize, sequence: usize, token: u32) {
        self.report_token(number, sequence, token);
    }

    fn ended(&mut self, number: usize, result: epitome_runtime::Result<Summary>) {
        self.end(number, result.map_err(ApiError::from));
    }
}

/// Follows a document that may be longer than the window.
impl Progress for Running<'_> {
    fn document_cancelled(&mut self, number: usize) -> bool {
        let taken = self.documents[number].as_ref();
        taken.is_some_and(|taken| taken.document.reply.is_abandoned())
    }

    fn token(&mut self, number: usize, sequence: usize, token: u32) {
        self.report_token(number, sequence, token);
    }

    fn summarized(&mut self, number: usize, summary: Summary) {
        self.end(number, Ok(summary));
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::super::queue::Queue;
    use super::super::request::QueuedRequest;
    use super::super::tests::request;
    use super::*;
    use crate::metrics::Metrics;
    use crate::settings::SchedulingSettings;

    fn push(state: &State, texts: &[&str]) -> UnboundedReceiver<Event> {
        let (events, receiver) = unbounded_channel();
        state.queue.push(QueuedRequest::new(request(texts), events)).unwrap();
        receiver
    }

    /// The goal for the next document, and its number once it is taken.
    fn take(running: &mut Running<'_>) -> (Goal, usize) {
        assert!(running.waiting().is_some());
        let goal = running.goal();
        (goal, Texts::take(running).unwrap())
    }

    #[test]
    fn only_the_documents_of_one_request_are_decoded_for_throughput() {
        let queue = Queue::new(&SchedulingSettings::default());
        let state = State::new(queue, Arc::new(Metrics::new()), Arc::default());
        let mut running = Running::new(&state, None);
        let _first = push(&state, &["a", "b", "c", "d"]);
        assert_eq!(take(&mut running), (Goal::Throughput, 0));
        assert_eq!(take(&mut running), (Goal::Throughput, 1));
        let _second = push(&state, &["e"]);
        assert_eq!(take(&mut running), (Goal::Latency, 2), "two requests wait");
        assert_eq!(take(&mut running), (Goal::Latency, 3), "two requests wait");
        assert_eq!(take(&mut running), (Goal::Latency, 4), "the second request runs");
        running.end(3, Err(ApiError::WorkerFailed));
        let _third = push(&state, &["f"]);
        assert_eq!(take(&mut running), (Goal::Latency, 3), "the first request runs");
    }
}
