//! The clock of the gate: time that this thread spent on a processor.
//!
//! On a machine that others use too, a thread waits for its turn, and how long says nothing of its
//! work. What others do to caches and to a shared core still counts, which is what the calibration is
//! for.

use std::time::Duration;

use cpu_time::ThreadTime;

/// Time of this thread so far.
pub(super) fn now() -> Duration {
    ThreadTime::now().as_duration()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_takes_no_time() {
        let before = now();
        std::thread::sleep(Duration::from_millis(50));
        assert!(now() - before < Duration::from_millis(25));
        let mut sum = 0u64;
        while now() == before {
            sum = std::hint::black_box(sum + 1);
        }
    }
}
