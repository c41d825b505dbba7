//! Requests wait in a bounded queue. Worker threads, each with a model of its own, summarize their
//! documents: each joins those that run as soon as it is encoded, and leaves when it is finished.
//!
//! * `engine`: what a worker drives.
//! * `request`: what is asked, and what is reported.
//! * `queue`: who waits, and whose turn is next.
//! * `state`: what the workers share.
//! * `worker`: the thread; survives panics by opening the model again.
//!
//! Who waits holds the receiving end of a channel. Dropping it cancels the request: workers look
//! before each decoder step.

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
pub(crate) use request::{Demand, Document, Event, Job, JobParameters, Request, Token, key};
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
    /// Starts the workers; each opens an engine of its own. `changed` is told of each change of the
    /// health.
    ///
    /// # Errors
    /// Where the system starts no thread.
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

    /// Hands in a request; reports come out of the channel.
    ///
    /// # Errors
    /// Where it does not fit into the queue, or no worker works.
    pub(crate) fn submit(&self, request: Request) -> Result<UnboundedReceiver<Event>, ApiError> {
        if let Health::Failed(reason) = self.health() {
            return Err(ApiError::NotReady(reason));
        }
        self.state.queue.check(&request)?;
        let (events, receiver) = unbounded_channel();
        self.state.queue.push(QueuedRequest::new(request, events))?;
        Ok(receiver)
    }

    /// Whether documents are worked on.
    pub(crate) fn health(&self) -> Health {
        self.state.health()
    }

    /// Requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state.queue.len()
    }

    /// Takes no more requests; those that were taken are still worked on.
    pub(crate) fn close(&self) {
        self.state.queue.close();
    }

    /// Waits for the workers to end after [`close`](Self::close). Blocks.
    pub(crate) fn join(&self) {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A worker catches every panic of the work; one beyond that is in the log already.
            let _ = thread.join();
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.close();
    }
}
