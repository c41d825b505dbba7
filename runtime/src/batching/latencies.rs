//! Measured times of encoders and decoder steps.

use std::collections::BTreeMap;
use std::time::Duration;

/// Weight of the newest sample in an exponential moving average.
const SMOOTHING: f64 = 0.1;
/// A step time is dropped after this many steps without a sample, so a slow one does not stay.
const MAX_AGE_STEPS: u64 = 4096;

/// Moving averages of the times of encoding and decoding.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    /// Seconds of the encoder per source token.
    encode: Option<f64>,
    /// Decoder steps per document.
    steps: Option<f64>,
    /// Seconds of a decoder step with its searches, by number of rows.
    step: BTreeMap<usize, StepTime>,
    /// Number of steps measured.
    observed: u64,
}

#[derive(Clone, Copy, Debug)]
struct StepTime {
    seconds: f64,
    /// Number of the last step with a sample.
    last: u64,
}

impl Latencies {
    /// Records the time of encoding a document of `tokens` tokens.
    pub(super) fn encoded(&mut self, tokens: usize, took: Duration) {
        learn(&mut self.encode, took.as_secs_f64() / tokens.max(1) as f64);
    }

    /// Records the time of a step of `rows` rows.
    pub(super) fn stepped(&mut self, rows: usize, took: Duration) {
        let (new, last) = (took.as_secs_f64(), self.observed);
        self.observed += 1;
        self.step
            .entry(rows)
            .and_modify(|step| {
                step.seconds += SMOOTHING * (new - step.seconds);
                step.last = last;
            })
            .or_insert(StepTime { seconds: new, last });
        if self.observed.is_multiple_of(MAX_AGE_STEPS / 4) {
            let observed = self.observed;
            self.step.retain(|_, step| observed - step.last < MAX_AGE_STEPS);
        }
    }

    /// Records the steps of a finished document.
    pub(super) fn finished(&mut self, steps: usize) {
        learn(&mut self.steps, steps as f64);
    }

    /// Seconds of the encoder for a document of `tokens` tokens.
    pub(super) fn encode_seconds(&self, tokens: usize) -> Option<f64> {
        self.encode.map(|seconds| seconds * tokens as f64)
    }

    /// Decoder steps per document.
    pub(super) fn steps(&self) -> Option<f64> {
        self.steps
    }

    /// Seconds of a step of `rows` rows, interpolated or extrapolated where none was measured.
    pub(super) fn step_seconds(&self, rows: usize) -> Option<f64> {
        let point = |(&rows, step): (&usize, &StepTime)| (rows as f64, step.seconds);
        let mut below = self.step.range(..=rows).rev().map(point);
        let mut above = self.step.range(rows + 1..).map(point);
        let (first, second) = match (below.next(), above.next()) {
            (Some(low), Some(high)) => (low, Some(high)),
            (Some(high), None) => (high, below.next()),
            (None, Some(low)) => (low, above.next()),
            (None, None) => return None,
        };
        let slope = second.map_or(0.0, |second| (second.1 - first.1) / (second.0 - first.0));
        // A noisy sample must not make more rows look faster.
        Some((first.1 + slope.max(0.0) * (rows as f64 - first.0)).max(0.0))
    }
}

fn learn(mean: &mut Option<f64>, new: f64) {
    *mean = Some(mean.map_or(new, |mean| mean + SMOOTHING * (new - mean)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_never_seen_are_judged_by_their_neighbours() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.step_seconds(4), None);
        latencies.stepped(4, Duration::from_millis(4));
        assert_eq!(latencies.step_seconds(64), Some(0.004), "nothing speaks against it yet");
        latencies.stepped(8, Duration::from_millis(8));
        let milliseconds = |rows| (latencies.step_seconds(rows).unwrap() * 1e3).round();
        assert_eq!([2, 4, 6, 8, 16].map(milliseconds), [2.0, 4.0, 6.0, 8.0, 16.0]);
        latencies.stepped(16, Duration::from_millis(2));
        let seconds = latencies.step_seconds(12).unwrap();
        assert_eq!(seconds, 0.008, "more rows never look faster");
    }

    #[test]
    fn one_slow_moment_is_forgotten() {
        let mut latencies = Latencies::default();
        latencies.stepped(8, Duration::from_secs(1));
        for _ in 0..2 * MAX_AGE_STEPS {
            latencies.stepped(4, Duration::from_millis(4));
        }
        assert!((latencies.step_seconds(8).unwrap() - 0.004).abs() < 1e-9);
    }

    #[test]
    fn averages_follow_what_is_new() {
        let mut latencies = Latencies::default();
        latencies.encoded(100, Duration::from_millis(100));
        assert_eq!(latencies.encode_seconds(500), Some(0.5));
        for _ in 0..99 {
            latencies.encoded(100, Duration::from_millis(200));
            latencies.finished(7);
        }
        assert!((latencies.encode_seconds(500).unwrap() - 1.0).abs() < 1e-3);
        assert_eq!(latencies.steps(), Some(7.0));
    }
}
