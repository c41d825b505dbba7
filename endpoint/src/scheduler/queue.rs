//! The bounded queue of requests, and the order of their documents.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use epitome_runtime::batching::Demand;

use super::request::{QueuedRequest, Request, RequestId, TakenDocument};
use crate::error::ApiError;
use crate::settings::SchedulingSettings;

/// A request is large if it has more than `1 / LARGE_SHARE` of the queue's rows. It counts as that
/// share only, and large requests together fill at most half of the queue: they take turns with
/// other requests, so they do not delay them by all their rows.
const LARGE_SHARE: usize = 4;
/// Weight of the newest document in the moving average of the time per document.
const SMOOTHING: f64 = 0.1;

/// Requests that wait for a worker.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Maximum number of waiting requests.
    max_requests: usize,
    /// Maximum number of waiting rows.
    max_rows: usize,
}

#[derive(Default)]
struct State {
    requests: VecDeque<QueuedRequest>,
    closed: bool,
    /// Number of workers that wait for documents.
    idle: usize,
    throughput: Throughput,
}

/// Throughput of all workers together.
#[derive(Default)]
struct Throughput {
    /// Moving average of the seconds between finished documents, without idle time.
    seconds: Option<f64>,
    /// When the last document was finished.
    last: Option<Instant>,
}

impl Throughput {
    /// Records that a document is finished, which a worker took at `taken`.
    fn finished(&mut self, taken: Instant) {
        let since = self.last.map_or(taken, |last| last.max(taken));
        let new = since.elapsed().as_secs_f64();
        let mean = self.seconds.map_or(new, |mean| mean + SMOOTHING * (new - mean));
        (self.seconds, self.last) = (Some(mean), Some(Instant::now()));
    }
}

/// The next document in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NextDocument {
    pub(super) demand: Demand,
    /// Whether the document has options for long documents. It then runs alone, whatever its
    /// length.
    pub(super) long: bool,
    /// The request of the document, if it is the only waiting request and is not streamed.
    pub(super) only: Option<RequestId>,
}

impl NextDocument {
    /// Whether the document can be taken instead of `other`.
    fn fits(&self, other: &Self) -> bool {
        self.long == other.long
            && self.demand.rows <= other.demand.rows
            && self.demand.tokens <= other.demand.tokens
            && self.demand.longest <= other.demand.longest
    }
}

impl Queue {
    pub(super) fn new(settings: &SchedulingSettings) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            max_requests: settings.queue,
            max_rows: settings.queue_rows.get(),
        }
    }

    /// Checks that the rows of a request fit an empty queue.
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
    /// [`ApiError::Overloaded`] if the request does not fit. An empty queue takes every request.
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
        let max_rows = if request.rows() > share { self.max_rows / 2 } else { self.max_rows };
        waiting == 0 || (waiting < self.max_requests && rows + charged(request) <= max_rows)
    }

    fn overloaded(&self, state: &State) -> ApiError {
        let documents: usize = state.requests.iter().map(QueuedRequest::documents).sum();
        let seconds = state.throughput.seconds.unwrap_or(0.0) * documents as f64;
        ApiError::Overloaded {
            waiting: state.requests.len(),
            retry_after: Duration::from_secs_f64(seconds.clamp(1.0, 60.0).ceil()),
        }
    }

    /// Waits for a document, and returns the next one. `None` if the queue is closed and empty.
    pub(super) fn wait(&self) -> Option<NextDocument> {
        let mut state = self.lock();
        loop {
            if let Some(next) = next_document(&mut state) {
                return Some(next);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// The number of documents that wait for this worker, and the next of them. If the worker
    /// already runs documents, one document for each idle worker is left out.
    pub(super) fn waiting(&self, runs: bool) -> Option<(usize, NextDocument)> {
        let mut state = self.lock();
        let next = next_document(&mut state)?;
        let documents: usize = state.requests.iter().map(QueuedRequest::documents).sum();
        let waiting = if runs { documents.saturating_sub(state.idle) } else { documents };
        (waiting > 0).then_some((waiting, next))
    }

    /// Takes the next document. `None` if another worker took the expected one, and the next one
    /// demands more.
    ///
    /// A request with documents left goes to the end, so that thousands of documents in one request
    /// do not shut out the others.
    pub(super) fn take(&self, expected: &NextDocument) -> Option<TakenDocument> {
        let mut state = self.lock();
        next_document(&mut state).filter(|next| next.fits(expected))?;
        let mut request = state.requests.pop_front()?;
        let taken = request.take();
        if request.documents() > 0 {
            state.requests.push_back(request);
        }
        taken
    }

    /// Records that a document is finished, which a worker took at `taken`.
    pub(super) fn finished(&self, taken: Instant) {
        self.lock().throughput.finished(taken);
    }

    /// Number of workers that wait for documents.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.lock().idle
    }

    /// Number of waiting requests.
    pub(super) fn len(&self) -> usize {
        self.lock().requests.len()
    }

    /// Takes no more requests. Waiting requests are still served.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits until the queue is closed, at most for `time`.
    pub(super) fn wait_closed(&self, time: Duration) {
        let state = self.lock();
        let _ = self.changed.wait_timeout_while(state, time, |state| !state.closed);
    }

    /// Drops every waiting request. This closes their channels, which tells the clients.
    pub(super) fn clear(&self) {
        self.lock().requests.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and the state is consistent at all times.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops abandoned requests, and returns the next document.
fn next_document(state: &mut State) -> Option<NextDocument> {
    state.requests.retain(|request| !request.reply.is_abandoned());
    let request = state.requests.front()?;
    let only = (state.requests.len() == 1 && !request.reply.stream).then(|| request.reply.id());
    let (demand, parameters) = request.next()?;
    Some(NextDocument { demand, long: parameters.long.is_some(), only })
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::super::request::{Document, Event, Group};
    use super::*;
    use crate::in_flight::Budget;

    /// A queue with a request of one document for each text.
    fn queue(texts: &[&str]) -> (Queue, Vec<UnboundedReceiver<Event>>) {
        let queue = Queue::new(&SchedulingSettings::default());
        let push = |text: &&str| {
            let demand = Demand { rows: 1, tokens: 0, longest: 20 };
            let mut group = Group::new(epitome_runtime::GenerationParameters::default(), demand);
            group.documents.push(Document { number: 0, text: (*text).to_owned().into() });
            let request = Request {
                groups: vec![group],
                deadline: Instant::now() + Duration::from_secs(60),
                stream: false,
                charge: Budget::new(0, 0).open(),
            };
            let (sender, receiver) = unbounded_channel();
            queue.push(QueuedRequest::new(request, sender)).unwrap();
            receiver
        };
        let receivers = texts.iter().map(push).collect();
        (queue, receivers)
    }

    #[test]
    fn only_a_worker_that_runs_others_leaves_documents_to_idle_ones() {
        let (queue, _receivers) = queue(&["a", "b"]);
        queue.lock().idle = 7;
        assert_eq!(queue.waiting(true), None);
        assert_eq!(queue.waiting(false), Some((2, queue.wait().unwrap())));
        queue.lock().idle = 1;
        assert_eq!(queue.waiting(true).map(|(waiting, _)| waiting), Some(1));
    }

    #[test]
    fn a_request_is_known_to_be_the_only_one() {
        let (queue, _receivers) = queue(&["a", "b"]);
        let expected = queue.wait().unwrap();
        assert_eq!(expected.only, None);
        queue.take(&expected);
        let only = queue.wait().unwrap().only;
        let last = queue.take(&expected).unwrap();
        assert_eq!(only, Some(last.reply.id()));
    }

    #[test]
    fn a_document_with_a_greater_demand_than_admitted_is_not_taken() {
        let (queue, _receivers) = queue(&["aa", "bbbb", "c"]);
        let expected = queue.wait().unwrap();
        assert!(queue.take(&expected).is_some());
        assert!(queue.take(&expected).is_none(), "it is longer");
        let expected = queue.wait().unwrap();
        assert!(queue.take(&NextDocument { long: true, ..expected }).is_none(), "it is not long");
        assert!(queue.take(&expected).is_some());
        assert!(queue.take(&expected).is_some(), "it is shorter");
    }
}
