//! Waiting for something that AWS does, by asking again and again.

use std::thread::sleep;
use std::time::{Duration, Instant};

use epitome_runtime::Progress;

use crate::error::{Error, Result};

/// How often the wish to stop is checked.
const TICK: Duration = Duration::from_millis(100);

/// How something is waited for.
#[derive(Clone, Copy)]
pub struct Polling<'a> {
    /// Time between two questions.
    pub interval: Duration,
    /// Is told each state that AWS names; can stop the waiting.
    pub progress: &'a dyn Progress,
}

impl Polling<'_> {
    /// Waits until the next question.
    ///
    /// # Errors
    /// [`Error::Interrupted`] as soon as the user asked to stop.
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
