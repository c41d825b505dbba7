//! Ctrl-C while Python waits for long work.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use epitome_runtime::Progress;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Time between two checks for signals. A check takes the interpreter's lock.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// Lets Python handle signals while it waits. Stops the work if a handler raises an exception, as
/// Ctrl-C does.
pub(crate) struct Signals {
    /// Whether this is the main thread. Python runs handlers only there.
    in_main_thread: bool,
    state: Mutex<State>,
}

struct State {
    next: Instant,
    raised: Option<PyErr>,
}

impl Signals {
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static MAIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let current = CURRENT.import(py, "threading", "current_thread")?.call0()?;
        let main = MAIN.import(py, "threading", "main_thread")?.call0()?;
        Ok(Self {
            in_main_thread: current.is(&main),
            state: Mutex::new(State { next: Instant::now() + PAUSE, raised: None }),
        })
    }

    /// The exception of a handler, or else the result of the work.
    pub(crate) fn or<T>(self, result: T) -> PyResult<T> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.raised.map_or(Ok(result), Err)
    }
}

impl Progress for Signals {
    fn cancelled(&self) -> bool {
        if !self.in_main_thread {
            return false;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.raised.is_none() && Instant::now() >= state.next {
            state.raised = Python::attach(|py| py.check_signals().err());
            state.next = Instant::now() + PAUSE;
        }
        state.raised.is_some()
    }
}
