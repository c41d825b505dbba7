//! The state of a connection.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hyper::Version;
use tokio::sync::Notify;

/// The state of a connection, shared by its parts.
#[derive(Default)]
pub(super) struct Activity {
    state: Mutex<State>,
    /// Notified when a request begins.
    began: Notify,
    close: Notify,
}

#[derive(Clone, Copy)]
struct State {
    request: RequestState,
    /// Time of the last change.
    since: Instant,
}

/// The state of the current request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestState {
    /// There is no request, or its head is incomplete.
    None,
    /// The request is being worked on. Interim answers may be sent to clients of HTTP/1.1.
    Running { interim: bool },
    /// The answer is being sent.
    Answering,
}

impl Default for State {
    fn default() -> Self {
        Self { request: RequestState::None, since: Instant::now() }
    }
}

impl Activity {
    /// Records that the head of a request is complete.
    pub(super) fn request_began(&self, version: Version) {
        let interim = version >= Version::HTTP_11;
        self.set(RequestState::Running { interim });
        self.began.notify_one();
    }

    /// Records that the head of the answer is ready.
    pub(super) fn answer_began(&self) {
        self.set(RequestState::Answering);
    }

    /// Records that the connection reads. After an answer it reads the next request.
    pub(super) fn reads(&self) {
        if self.request() == RequestState::Answering {
            self.set(RequestState::None);
        }
    }

    pub(super) fn request(&self) -> RequestState {
        self.lock().request
    }

    /// Time since which the connection has had no request; `None` while it has one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.lock();
        (state.request == RequestState::None).then_some(state.since)
    }

    /// Waits until a request begins.
    pub(super) async fn request_begins(&self) {
        self.began.notified().await;
    }

    /// Asks the connection to close.
    pub(super) fn close(&self) {
        self.close.notify_one();
    }

    pub(super) async fn asked_to_close(&self) {
        self.close.notified().await;
    }

    fn set(&self, request: RequestState) {
        *self.lock() = State { request, since: Instant::now() };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
