//! Waiting for something that AWS does.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::AwsError;

/// How often the wish to stop is looked at.
const TICK: Duration = Duration::from_millis(100);

/// Is told how something in AWS gets on, and says how long to wait for it.
///
/// `()` is the one that shows nothing and never stops.
pub trait Watch {
    /// The state, as AWS calls it; said each time it was asked for.
    fn state(&self, state: &str) {
        let _ = state;
    }
    /// Something to show beside it, such as a line of a log.
    fn note(&self, note: &str) {
        let _ = note;
    }
    /// Whether the user asked to stop.
    fn cancelled(&self) -> bool {
        false
    }
    /// Time between two looks.
    fn interval(&self) -> Duration {
        Duration::from_secs(10)
    }
}

impl Watch for () {}

/// Waits until the next look.
///
/// # Errors
/// [`AwsError::Interrupted`] as soon as the user asked to stop.
pub(super) fn pause(watch: &dyn Watch) -> Result<(), AwsError> {
    let end = Instant::now() + watch.interval();
    loop {
        if watch.cancelled() {
            return Err(AwsError::Interrupted);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        sleep(left.min(TICK));
    }
}
