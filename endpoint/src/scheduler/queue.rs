//! The bounded queue, and which of the waiting texts are decoded together.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use epitome_runtime::GenerationParameters;

use super::job::{Job, Task};
use crate::error::ApiError;

/// How much the newest batch counts in the mean time of a job.
const NEWEST: f64 = 0.2;

/// Jobs that wait for a worker.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Jobs that may wait.
    capacity: usize,
    /// Rows that are decoded together at most.
    rows: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
    /// Mean seconds that a job keeps a worker busy.
    seconds_per_job: f64,
}

/// Texts with the same parameters that a worker decodes together.
pub(super) struct Batch {
    pub(super) parameters: GenerationParameters,
    pub(super) tasks: Vec<Task>,
}

impl Queue {
    pub(super) fn new(capacity: usize, rows: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            capacity,
            rows,
        }
    }

    /// Adds the jobs of a request, all or none.
    ///
    /// A request of more jobs than the queue has room for is taken where nothing waits.
    pub(super) fn push(&self, jobs: Vec<Job>) -> Result<(), ApiError> {
        let mut state = self.lock();
        if state.closed {
            return Err(ApiError::ShuttingDown);
        }
        if state.jobs.len() + jobs.len() > self.capacity {
            state.jobs.retain(|job| !job.is_abandoned());
        }
        let waiting = state.jobs.len();
        if waiting + jobs.len() > self.capacity && waiting > 0 {
            let seconds = state.seconds_per_job * waiting as f64;
            return Err(ApiError::Overloaded {
                waiting,
                retry_after: Duration::from_secs_f64(seconds.clamp(1.0, 60.0).ceil()),
            });
        }
        state.jobs.extend(jobs);
        self.changed.notify_all();
        Ok(())
    }

    /// Waits for work. `None` once the queue is closed and empty.
    pub(super) fn next(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            state.jobs.retain(|job| !job.is_abandoned());
            if let Some(first) = state.jobs.pop_front() {
                return Some(self.gather(&mut state.jobs, first));
            }
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The oldest job's texts, and those of other jobs that ask for the same and fit beside them.
    ///
    /// A job with texts left goes to the end, so that a request of thousands does not shut out the others.
    fn gather(&self, jobs: &mut VecDeque<Job>, mut first: Job) -> Batch {
        let rows = self.rows.max(first.rows_per_text);
        let mut tasks = first.take(rows);
        let mut free = rows - tasks.len() * first.rows_per_text;
        for job in jobs.iter_mut() {
            if job.parameters == first.parameters && job.rows_per_text == first.rows_per_text {
                let more = job.take(free);
                free -= more.len() * job.rows_per_text;
                tasks.extend(more);
            }
        }
        jobs.retain(|job| !job.is_exhausted());
        let parameters = first.parameters.clone();
        if !first.is_exhausted() {
            jobs.push_back(first);
        }
        Batch { parameters, tasks }
    }

    /// Notes how long a batch of so many texts took.
    pub(super) fn note(&self, texts: usize, started: Instant) {
        let seconds = started.elapsed().as_secs_f64() / texts.max(1) as f64;
        let mut state = self.lock();
        state.seconds_per_job = match state.seconds_per_job {
            0.0 => seconds,
            mean => mean + NEWEST * (seconds - mean),
        };
    }

    /// Jobs that wait.
    pub(super) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Takes no more jobs. Those that wait are still worked on.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits until the time is over or the queue is closed.
    pub(super) fn wait_closed(&self, time: Duration) {
        let state = self.lock();
        let _ = self
            .changed
            .wait_timeout_while(state, time, |state| !state.closed);
    }

    /// Drops every waiting job; those who wait for them are told by their channel's end.
    pub(super) fn clear(&self) {
        self.lock().jobs.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is sound at every point.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
