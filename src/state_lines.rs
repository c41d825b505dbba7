//! Prints the states of an AWS resource that a command waits for, on standard error.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use epitome_runtime::Progress;

use crate::interrupt;

/// Prints each new state once, with the time since the start. Ctrl-C ends the wait.
pub(crate) struct StateLines {
    start: Instant,
    last: Mutex<String>,
}

impl StateLines {
    /// Creates a printer whose time starts now.
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), last: Mutex::default() }
    }
}

impl Progress for StateLines {
    fn state(&self, state: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != state {
            state.clone_into(&mut last);
            self.note(state);
        }
    }

    fn note(&self, note: &str) {
        eprintln!("{:>6.0} s  {note}", self.start.elapsed().as_secs_f64());
    }

    fn cancelled(&self) -> bool {
        interrupt::requested()
    }
}
