//! The bounded queue, and which of the waiting texts are decoded together.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use epitome_runtime::GenerationParameters;

use super::job::{Job, Task};
use super::pace::{Observed, Pace};
use crate::error::ApiError;
use crate::settings::SchedulingSettings;

/// Jobs that wait for a worker.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Jobs that may wait.
    capacity: usize,
    /// Rows that are decoded together at most.
    rows: usize,
    workers: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
    /// Workers that wait for a job.
    idle: usize,
    pace: Pace,
}

/// Texts with the same parameters that a worker decodes together.
pub(super) struct Batch {
    pub(super) parameters: GenerationParameters,
    pub(super) rows_per_text: usize,
    pub(super) tasks: Vec<Task>,
}

impl Queue {
    pub(super) fn new(settings: &SchedulingSettings) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            capacity: settings.queue,
            rows: settings.rows.get(),
            workers: settings.workers.get(),
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
            let texts: usize = state.jobs.iter().map(Job::remaining).sum();
            let seconds = state.pace.seconds_per_text() * texts as f64 / self.workers as f64;
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
                return Some(self.gather(&mut state, first));
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// The oldest job's texts, and those of other jobs that ask for the same, as many as it is best to decode together.
    ///
    /// A job with texts left goes to the end, so that a request of thousands does not shut out the others.
    fn gather(&self, state: &mut State, mut first: Job) -> Batch {
        let rows_per_text = first.rows_per_text;
        let alike = state.jobs.iter().filter(|job| job.goes_with(&first));
        let waiting: usize = first.remaining() + alike.map(Job::remaining).sum::<usize>();
        // Idle workers take their share.
        let waiting = waiting.div_ceil(state.idle + 1);
        let most = self.rows / rows_per_text;
        let size = state.pace.together(waiting, rows_per_text, most);
        let mut tasks = first.take(size);
        for job in state.jobs.iter_mut().filter(|job| job.goes_with(&first)) {
            tasks.extend(job.take(size - tasks.len()));
        }
        state.jobs.retain(|job| !job.is_exhausted());
        let parameters = first.parameters.clone();
        if !first.is_exhausted() {
            state.jobs.push_back(first);
        }
        Batch {
            parameters,
            rows_per_text,
            tasks,
        }
    }

    /// Learns how long texts took that were decoded together.
    pub(super) fn observe(&self, rows_per_text: usize, texts: Vec<Observed>) {
        self.lock().pace.observe(rows_per_text, texts);
    }

    /// Workers that wait for a job.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.lock().idle
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
