//! Requests wait in a bounded queue. Worker threads, each with its own model, summarize their
//! documents. A document joins the running ones as soon as it is encoded, and leaves when it is
//! finished.
//!
//! * `engine`: the interface of a model to its worker.
//! * `request`: requests, and the events that workers report.
//! * `queue`: the waiting requests, and the order of their documents.
//! * `state`: the state that all workers share.
//! * `worker`: the thread; after a panic it opens the model again.
//!
//! A client holds the receiving end of a channel. Dropping it cancels the request: workers check
//! the channel before each decoder step.

mod engine;
mod queue;
mod request;
mod state;
#[cfg(test)]
mod tests;
mod worker;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub(crate) use engine::{Engine, OpenEngine};
use queue::Queue;
use request::QueuedRequest;
pub(crate) use request::{Document, DocumentParameters, Event, Group, Request, Token, key};
pub(crate) use state::Health;
use state::State;
pub(crate) use worker::panic_message;

use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::settings::SchedulingSettings;

/// The queue and its workers.
pub(crate) struct Scheduler {
    state: Arc<State>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Scheduler {
    /// Starts the workers; each opens its own engine. `changed` is notified of each change of the
    /// health.
    ///
    /// # Errors
    /// If the system starts no thread.
    pub(crate) fn start(
        settings: &SchedulingSettings,
        workers: NonZeroUsize,
        metrics: Arc<Metrics>,
        changed: Arc<Notify>,
        open: Arc<OpenEngine>,
    ) -> std::io::Result<Self> {
        let state = Arc::new(State::new(Queue::new(settings), metrics, changed));
        let spawn = |number: usize| {
            let (state, open) = (state.clone(), open.clone());
            std::thread::Builder::new()
                .name(format!("summarizer-{number}"))
                .spawn(move || worker::run(&state, &*open))
        };
        let mut threads = Vec::new();
        for number in 0..workers.get() {
            match spawn(number) {
                Ok(thread) => threads.push(thread),
                Err(error) if threads.is_empty() => return Err(error),
                Err(error) => tracing::error!(%error, "a worker thread cannot be started"),
            }
        }
        Ok(Self { state, threads: Mutex::new(threads) })
    }

    /// Adds a request to the queue, and returns the receiver of its events.
    ///
    /// # Errors
    /// If the request does not fit into the queue, or no worker runs.
    pub(crate) fn submit(&self, request: Request) -> Result<UnboundedReceiver<Event>, ApiError> {
        if let Health::Failed(reason) = self.health() {
            return Err(ApiError::NotReady(reason));
        }
        self.state.queue.check(&request)?;
        let (events, receiver) = unbounded_channel();
        self.state.queue.push(QueuedRequest::new(request, events))?;
        Ok(receiver)
    }

    /// Health of the workers.
    pub(crate) fn health(&self) -> Health {
        self.state.health()
    }

    /// Number of waiting requests.
    pub(crate) fn waiting(&self) -> usize {
        self.state.queue.len()
    }

    /// Takes no more requests. Waiting requests are still served.
    pub(crate) fn close(&self) {
        self.state.queue.close();
    }

    /// Waits for the workers to end after [`close`](Self::close). Blocks.
    pub(crate) fn join(&self) {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A worker catches and logs every panic.
            let _ = thread.join();
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.close();
    }
}
