//! What a connection is doing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hyper::Version;
use tokio::sync::Notify;

/// What a connection is doing, as its parts see it.
#[derive(Default)]
pub(super) struct Activity {
    state: Mutex<State>,
    /// Told when a request begins.
    began: Notify,
    close: Notify,
}

#[derive(Clone, Copy)]
struct State {
    request: RequestState,
    /// When that changed.
    since: Instant,
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestState {
    /// There is none, or its head is incomplete.
    None,
    /// It is worked on. Interim answers may be sent to clients of HTTP/1.1.
    Running { interim: bool },
    /// Its answer is being sent.
    Answering,
}

impl Default for State {
    fn default() -> Self {
        Self { request: RequestState::None, since: Instant::now() }
    }
}

impl Activity {
    /// A request's head is complete.
    pub(super) fn request_began(&self, version: Version) {
        let interim = version >= Version::HTTP_11;
        self.set(RequestState::Running { interim });
        self.began.notify_one();
    }

    /// The head of the answer is made, and will be sent.
    pub(super) fn answer_began(&self) {
        self.set(RequestState::Answering);
    }

    /// Something is to be read: after an answer, that is the next request.
    pub(super) fn reads(&self) {
        if self.request() == RequestState::Answering {
            self.set(RequestState::None);
        }
    }

    pub(super) fn request(&self) -> RequestState {
        self.lock().request
    }

    /// Since when it has had no request; `None` where it has one.
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
