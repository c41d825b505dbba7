//! The bounded queue, and whose turn is next.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::request::{Demand, QueuedRequest, Request, RequestId, TakenDocument};
use crate::error::ApiError;
use crate::settings::SchedulingSettings;

/// A request of more than this part of the queue's rows counts as this part only, and such requests
/// together fill at most half of the queue. They are worked on in turns with the others.
const LARGE_SHARE: usize = 4;
/// Weight of the newest document in the time that a document takes.
const SMOOTHING: f64 = 0.1;

/// Requests that wait for a worker.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Requests that may wait.
    max_requests: usize,
    /// Rows that may wait.
    max_rows: usize,
}

#[derive(Default)]
struct State {
    requests: VecDeque<QueuedRequest>,
    closed: bool,
    /// Workers that wait for documents.
    idle: usize,
    pace: Pace,
}

/// How quickly documents are finished, by all workers together.
#[derive(Default)]
struct Pace {
    /// Moving average of the seconds from one to the next while there is work.
    seconds: Option<f64>,
    last: Option<Instant>,
}

impl Pace {
    /// A document is finished that a worker took then.
    fn finished(&mut self, taken: Instant) {
        let since = self.last.map_or(taken, |last| last.max(taken));
        let new = since.elapsed().as_secs_f64();
        let mean = self.seconds.map_or(new, |mean| mean + SMOOTHING * (new - mean));
        (self.seconds, self.last) = (Some(mean), Some(Instant::now()));
    }
}

/// The document whose turn is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    pub(super) demand: Demand,
    pub(super) bytes: usize,
    /// Whether it is read by parts where it is long. It runs alone then, whatever its length.
    pub(super) long: bool,
    /// The request it belongs to, where no other waits and it is answered as a whole.
    pub(super) only: Option<RequestId>,
}

impl Front {
    /// Whether it can be taken in place of another.
    fn fits(&self, other: &Self) -> bool {
        self.long == other.long
            && self.demand.rows <= other.demand.rows
            && self.demand.longest <= other.demand.longest
            && self.bytes <= other.bytes
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
        let seconds = state.pace.seconds.unwrap_or(0.0) * documents as f64;
        ApiError::Overloaded {
            waiting: state.requests.len(),
            retry_after: Duration::from_secs_f64(seconds.clamp(1.0, 60.0).ceil()),
        }
    }

    /// Waits until documents wait: the next of them. `None` once the queue is closed and empty.
    pub(super) fn wait(&self) -> Option<Front> {
        let mut state = self.lock();
        loop {
            if let Some(front) = front(&mut state) {
                return Some(front);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// How many documents wait for this worker, and the next of them. Where the worker runs others,
    /// those that idle workers are about to take do not count.
    pub(super) fn waiting(&self, runs: bool) -> Option<(usize, Front)> {
        let mut state = self.lock();
        let front = front(&mut state)?;
        let documents: usize = state.requests.iter().map(QueuedRequest::documents).sum();
        let waiting = if runs { documents.saturating_sub(state.idle) } else { documents };
        (waiting > 0).then_some((waiting, front))
    }

    /// Takes the next document. `None` where another worker took the expected one, and the next
    /// asks for more.
    ///
    /// A request with documents left goes to the end, so that thousands of documents in one request
    /// do not shut out the others.
    pub(super) fn take(&self, expected: &Front) -> Option<TakenDocument> {
        let mut state = self.lock();
        front(&mut state).filter(|front| front.fits(expected))?;
        let mut request = state.requests.pop_front()?;
        let taken = request.take();
        if request.documents() > 0 {
            state.requests.push_back(request);
        }
        taken
    }

    /// Learns that a document is finished that a worker took then.
    pub(super) fn finished(&self, taken: Instant) {
        self.lock().pace.finished(taken);
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

/// The next document, once requests that nobody waits for are dropped.
fn front(state: &mut State) -> Option<Front> {
    state.requests.retain(|request| !request.reply.is_abandoned());
    let request = state.requests.front()?;
    let only = (state.requests.len() == 1 && !request.reply.stream).then(|| request.reply.id());
    let (demand, parameters, bytes) = request.next()?;
    Some(Front { demand, bytes, long: parameters.long.is_some(), only })
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::super::request::{Document, Event, Job};
    use super::*;
    use crate::in_flight::Budget;

    /// A queue with a request of one document for each text.
    fn queue(texts: &[&str]) -> (Queue, Vec<UnboundedReceiver<Event>>) {
        let queue = Queue::new(&SchedulingSettings::default());
        let push = |text: &&str| {
            let demand = Demand { rows: 1, longest: 20 };
            let mut job = Job::new(epitome_runtime::GenerationParameters::default(), demand);
            job.documents.push(Document { number: 0, text: (*text).to_owned().into() });
            let request = Request {
                jobs: vec![job],
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
    fn what_is_taken_asks_for_no_more_than_what_was_admitted() {
        let (queue, _receivers) = queue(&["aa", "bbbb", "c"]);
        let expected = queue.wait().unwrap();
        assert!(queue.take(&expected).is_some());
        assert!(queue.take(&expected).is_none(), "it is longer");
        let expected = queue.wait().unwrap();
        assert!(queue.take(&Front { long: true, ..expected }).is_none(), "it is not long");
        assert!(queue.take(&expected).is_some());
        assert!(queue.take(&expected).is_some(), "it is shorter");
    }
}
