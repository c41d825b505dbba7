//! Waits for AWS by polling.

use std::thread::sleep;
use std::time::{Duration, Instant};

use epitome_runtime::Progress;

use crate::error::{Error, Result};

/// Time between two checks for an interruption by the user.
const TICK: Duration = Duration::from_millis(100);

/// Settings of polling.
#[derive(Clone, Copy)]
pub struct Polling<'a> {
    /// Time between two polls.
    pub interval: Duration,
    /// Receives each new state; can stop the wait.
    pub progress: &'a dyn Progress,
}

impl Polling<'_> {
    /// Waits until the next poll.
    ///
    /// # Errors
    /// [`Error::Interrupted`] as soon as the user interrupts.
    pub(crate) fn pause(&self) -> Result<()> {
        let end = Instant::now() + self.interval;
        loop {
            if self.progress.cancelled() {
                return Err(Error::Interrupted);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(TICK));
        }
    }
}
