//! The state that the workers of a model share: the queue and their health.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::queue::Queue;
use crate::metrics::Metrics;

/// Whether a model can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// The model is being loaded; requests wait.
    Starting,
    /// At least one worker runs.
    Ready,
    /// The model cannot be used, for this reason.
    Failed(String),
}

/// State that the scheduler and its workers share.
pub(super) struct State {
    pub(super) queue: Queue,
    pub(super) metrics: Arc<Metrics>,
    workers: Mutex<Workers>,
    /// Notified of each change of the health.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Workers {
    working: usize,
    /// Why the last worker could not start.
    failure: Option<String>,
}

impl State {
    pub(super) fn new(queue: Queue, metrics: Arc<Metrics>, changed: Arc<Notify>) -> Self {
        Self { queue, metrics, workers: Mutex::default(), changed }
    }

    /// Health of the workers.
    pub(super) fn health(&self) -> Health {
        let workers = self.workers();
        match &workers.failure {
            _ if workers.working > 0 => Health::Ready,
            Some(reason) => Health::Failed(reason.clone()),
            None => Health::Starting,
        }
    }

    pub(super) fn worker_started(&self) {
        let mut workers = self.workers();
        workers.working += 1;
        workers.failure = None;
        self.changed.notify_waiters();
    }

    pub(super) fn worker_stopped(&self) {
        self.workers().working -= 1;
        self.changed.notify_waiters();
    }

    /// Records why a worker could not start. Returns whether the reason is a new one.
    pub(super) fn worker_failed(&self, reason: String) -> bool {
        let mut workers = self.workers();
        let is_new = workers.failure.as_ref() != Some(&reason);
        workers.failure = Some(reason);
        self.changed.notify_waiters();
        is_new
    }

    /// Drops all waiting requests if no worker is left, which tells their clients.
    pub(super) fn drop_orphans(&self) {
        if self.workers().working == 0 {
            self.queue.clear();
        }
    }

    fn workers(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
