//! How things in AWS get on, on standard error.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use epitome_endpoint::aws::Watch;

use crate::interrupt;

/// Says each state once, with the time since the start.
pub(crate) struct StateLines {
    start: Instant,
    interval: Duration,
    last: RefCell<String>,
}

impl StateLines {
    /// Looks every so many seconds.
    pub(crate) fn every(seconds: f64) -> Self {
        Self {
            start: Instant::now(),
            interval: Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(10)),
            last: RefCell::default(),
        }
    }
}

impl Watch for StateLines {
    fn state(&self, state: &str) {
        let mut last = self.last.borrow_mut();
        if *last != state {
            state.clone_into(&mut last);
            eprintln!("{:>6.0} s  {state}", self.start.elapsed().as_secs_f64());
        }
    }

    fn note(&self, note: &str) {
        eprintln!("{:>6.0} s  {note}", self.start.elapsed().as_secs_f64());
    }

    fn cancelled(&self) -> bool {
        interrupt::requested()
    }

    fn interval(&self) -> Duration {
        self.interval
    }
}

/// Ctrl-C ends the waiting, and says what there is.
pub(crate) fn waiting<T>(work: impl FnOnce() -> T) -> T {
    interrupt::watch();
    let result = work();
    interrupt::release();
    result
}
