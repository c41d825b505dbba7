//! Work waits in a bounded queue and is done by worker threads, each with a model of its own.
//!
//! * `engine`: what a worker drives.
//! * `job`: what is asked, and what is reported.
//! * `pace`: how long work takes, and how many texts to decode together.
//! * `queue`: who waits, and which texts are decoded together.
//! * `worker`: the thread; survives panics by opening the model again.
//!
//! Who waits for work holds the receiving end of a channel. Dropping it cancels the work: workers look at it before
//! each decoder step.

mod engine;
mod job;
mod pace;
mod queue;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub(crate) use engine::{Engine, OpenEngine};
use job::Job;
pub(crate) use job::{Event, Token, Work};
use queue::Queue;

use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::settings::SchedulingSettings;

/// Whether work gets done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// No worker has started yet.
    Starting,
    /// Workers work.
    Ready,
    /// No worker works, for this reason.
    Failed(String),
}

/// The queue and its workers.
pub(crate) struct Scheduler {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the workers and the scheduler share.
struct Shared {
    queue: Queue,
    health: Mutex<Workers>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Workers {
    working: usize,
    reason: Option<String>,
}

impl Shared {
    fn worker_started(&self) {
        let mut workers = self.workers();
        workers.working += 1;
        workers.reason = None;
    }

    fn worker_stopped(&self) {
        let mut workers = self.workers();
        workers.working -= 1;
        workers.reason = Some("the worker failed and is being started again".into());
    }

    /// Drops what waits where no worker is left for it, so that clients are told.
    fn drop_orphans(&self) {
        if self.workers().working == 0 {
            self.queue.clear();
        }
    }

    fn worker_failed(&self, reason: String) {
        self.workers().reason = Some(reason);
    }

    fn workers(&self) -> MutexGuard<'_, Workers> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scheduler {
    /// Starts the workers; each opens an engine of its own.
    pub(crate) fn start(
        settings: &SchedulingSettings,
        metrics: Arc<Metrics>,
        open: Arc<OpenEngine>,
    ) -> Self {
        let shared = Arc::new(Shared {
            queue: Queue::new(settings),
            health: Mutex::default(),
            metrics,
        });
        let spawn = |number: usize| {
            let (shared, open) = (shared.clone(), open.clone());
            std::thread::Builder::new()
                .name(format!("summarizer-{number}"))
                .spawn(move || worker::run(&shared, &*open))
                .inspect_err(|error| tracing::error!(%error, "a worker thread cannot be started"))
        };
        let threads = (0..settings.workers.get()).flat_map(spawn).collect();
        Self {
            shared,
            threads: Mutex::new(threads),
        }
    }

    /// Hands in the work of a request, all or none; reports come out of the channels, one for each work.
    pub(crate) fn submit(
        &self,
        work: Vec<Work>,
    ) -> Result<Vec<UnboundedReceiver<Event>>, ApiError> {
        match self.health() {
            Health::Ready => {}
            Health::Starting => return Err(ApiError::NotReady("the model is being loaded".into())),
            Health::Failed(reason) => return Err(ApiError::NotReady(reason)),
        }
        let (jobs, receivers) = work
            .into_iter()
            .filter(|work| !work.texts.is_empty())
            .map(|work| {
                let (events, receiver) = unbounded_channel();
                (Job::new(work, events), receiver)
            })
            .unzip();
        self.shared.queue.push(jobs)?;
        Ok(receivers)
    }

    /// Whether work gets done.
    pub(crate) fn health(&self) -> Health {
        let workers = self.shared.workers();
        match &workers.reason {
            _ if workers.working > 0 => Health::Ready,
            Some(reason) => Health::Failed(reason.clone()),
            None => Health::Starting,
        }
    }

    /// Jobs that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.queue.len()
    }

    /// Takes no more work; what was taken is still done.
    pub(crate) fn close(&self) {
        self.shared.queue.close();
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
