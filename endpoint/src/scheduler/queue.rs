//! The bounded queue, and which of the waiting documents are decoded together.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::latency_model::{LatencyModel, Sample};
use super::request::{Job, JobParameters, QueuedRequest, Request, TakenDocument};
use crate::error::ApiError;
use crate::settings::SchedulingSettings;

/// A request of more than this part of the queue's rows counts as this part only, and such requests
/// together fill at most half of the queue. They are worked on in turns with the others.
const LARGE_SHARE: usize = 4;

/// Requests that wait for a worker.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Requests that may wait.
    max_requests: usize,
    /// Rows that may wait.
    max_rows: usize,
    /// Rows that are decoded together at most.
    batch_rows: usize,
    workers: usize,
}

#[derive(Default)]
struct State {
    requests: VecDeque<QueuedRequest>,
    closed: bool,
    /// Workers that wait for documents.
    idle: usize,
    latencies: LatencyModel,
}

/// Documents with the same parameters that a worker decodes together.
pub(super) struct Batch {
    pub(super) parameters: JobParameters,
    pub(super) rows_per_document: usize,
    pub(super) documents: Vec<TakenDocument>,
}

impl Queue {
    pub(super) fn new(settings: &SchedulingSettings) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            max_requests: settings.queue,
            max_rows: settings.queue_rows.get(),
            batch_rows: settings.rows.get(),
            workers: settings.workers.get(),
        }
    }

    /// Whether a request of this many rows can be taken at all.
    pub(super) fn check(&self, request: &Request) -> Result<(), ApiError> {
        let rows = request.rows();
        if rows > self.max_rows {
            return Err(ApiError::TooManyRows { rows, max: self.max_rows });
        }
        Ok(())
    }

    /// Adds a request.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] where it does not fit. An empty queue takes every request.
    pub(super) fn push(&self, request: QueuedRequest) -> Result<(), ApiError> {
        let mut state = self.lock();
        if state.closed {
            return Err(ApiError::ShuttingDown);
        }
        if !self.fits(&state, &request) {
            state.requests.retain(|request| !request.reply.is_abandoned());
            if !self.fits(&state, &request) {
                return Err(self.overloaded(&state));
            }
        }
        state.requests.push_back(request);
        self.changed.notify_all();
        Ok(())
    }

    fn fits(&self, state: &State, request: &QueuedRequest) -> bool {
        let share = self.max_rows / LARGE_SHARE;
        let charged = |request: &QueuedRequest| request.rows().min(share);
        let waiting = state.requests.len();
        let rows: usize = state.requests.iter().map(charged).sum();
        let room = if request.rows() > share { self.max_rows / 2 } else { self.max_rows };
        waiting == 0 || (waiting < self.max_requests && rows + charged(request) <= room)
    }

    fn overloaded(&self, state: &State) -> ApiError {
        let documents: usize = state.requests.iter().map(QueuedRequest::documents).sum();
        let each = state.latencies.seconds_per_document();
        let seconds = each * documents as f64 / self.workers as f64;
        ApiError::Overloaded {
            waiting: state.requests.len(),
            retry_after: Duration::from_secs_f64(seconds.clamp(1.0, 60.0).ceil()),
        }
    }

    /// Waits for documents. `None` once the queue is closed and empty.
    pub(super) fn next(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            state.requests.retain(|request| !request.reply.is_abandoned());
            if let Some(first) = state.requests.pop_front() {
                return Some(self.gather(&mut state, first));
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Documents of one job of the oldest request, and of all jobs with the same parameters, as
    /// many as are best decoded together.
    ///
    /// A request with documents left goes to the end, so that thousands of documents in one request
    /// do not shut out the others.
    fn gather(&self, state: &mut State, mut first: QueuedRequest) -> Batch {
        let last = first.jobs.len() - 1;
        let job = &first.jobs[last];
        let (parameters, rows_per_document) = (job.parameters.clone(), job.rows_per_document);
        let alike = places_of(job, &state.requests);
        let others =
            alike.iter().map(|&(request, job)| state.requests[request].jobs[job].documents.len());
        let waiting = job.documents.len() + others.sum::<usize>();
        // Idle workers take their share.
        let waiting = waiting.div_ceil(state.idle + 1);
        let max = self.batch_rows / rows_per_document;
        let size = state.latencies.batch_size(waiting, rows_per_document, max);
        let mut taken = first.take(last, size);
        for (request, job) in alike {
            taken.extend(state.requests[request].take(job, size - taken.len()));
        }
        let has_documents = |request: &mut QueuedRequest| {
            request.jobs.retain(|job| !job.documents.is_empty());
            !request.jobs.is_empty()
        };
        state.requests.retain_mut(has_documents);
        if has_documents(&mut first) {
            state.requests.push_back(first);
        }
        Batch { parameters, rows_per_document, documents: taken }
    }

    /// Learns how long the documents of a batch took.
    pub(super) fn observe(&self, rows_per_document: usize, samples: Vec<Sample>) {
        self.lock().latencies.observe(rows_per_document, samples);
    }

    /// Workers that wait for documents.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.lock().idle
    }

    /// Requests that wait.
    pub(super) fn len(&self) -> usize {
        self.lock().requests.len()
    }

    /// Takes no more requests. Those that wait are still worked on.
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
        let _ = self.changed.wait_timeout_while(state, time, |state| !state.closed);
    }

    /// Drops every waiting request; their channels' ends tell those who wait.
    pub(super) fn clear(&self) {
        self.lock().requests.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is sound at every point.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests and their jobs that go with this one.
fn places_of(job: &Job, requests: &VecDeque<QueuedRequest>) -> Vec<(usize, usize)> {
    let jobs = requests.iter().enumerate().flat_map(|(place, request)| {
        let numbered = request.jobs.iter().enumerate();
        numbered.map(move |(number, other)| (place, number, other))
    });
    jobs.filter(|(_, _, other)| other.goes_with(job))
        .map(|(place, number, _)| (place, number))
        .collect()
}
