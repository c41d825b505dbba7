//! Which moment is right for the next document to join.

use super::latencies::Latencies;
use super::{Goal, Next};

/// Rows whose longest histories and sources bound the memory of all documents together.
const ROWS_IN_MEMORY: usize = 16;
/// The longest history of each of those.
const LONGEST_HISTORY: usize = 1024;

/// What may run together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Rows of all documents.
    pub(crate) rows: usize,
    /// Tokens of all sources.
    source: usize,
    /// Tokens of the histories of all rows.
    history: usize,
}

impl Bounds {
    /// So many rows, in the memory that [`ROWS_IN_MEMORY`] of them would take with sources of so
    /// many tokens.
    pub(crate) fn new(rows: usize, longest_source: usize) -> Self {
        Self {
            rows,
            source: ROWS_IN_MEMORY.saturating_mul(longest_source),
            history: ROWS_IN_MEMORY * LONGEST_HISTORY,
        }
    }

    /// Whether the next document fits beside those that run.
    pub(super) fn admit<'a>(&self, next: &Next, running: impl Iterator<Item = &'a Next>) -> bool {
        let mut sums = [next.rows, next.tokens, next.history()];
        for one in running {
            for (sum, more) in sums.iter_mut().zip([one.rows, one.tokens, one.history()]) {
                *sum = sum.saturating_add(more);
            }
        }
        sums[0] <= self.rows && sums[1] <= self.source && sums[2] <= self.history
    }
}

/// A document that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runner {
    /// Rows of its last step, those of a draft included.
    pub(super) rows: usize,
    /// Steps that it has made.
    pub(super) steps: usize,
}

/// Whether it is time for the next of so many waiting documents to join those that run.
///
/// Documents that decode together share every reading of the weights, so that each that joins saves
/// time for all who wait. But while it is encoded, those who run stand still. Until the next of
/// them leaves, all who wait gain what is saved by then; it is worth that where it is more than
/// those who leave then lose. Where only throughput counts, anything that is saved is worth it.
pub(super) fn is_time(
    goal: Goal,
    latencies: &Latencies,
    next: &Next,
    waiting: usize,
    running: &[Runner],
) -> bool {
    let rows: usize = running.iter().map(|runner| runner.rows).sum();
    let seconds = [rows, rows + next.rows, next.rows].map(|rows| latencies.step_seconds(rows));
    let [Some(now), Some(joined), Some(alone)] = seconds else {
        // Running together is how it becomes known.
        return true;
    };
    let saved = now + alone - joined;
    if goal == Goal::Throughput || running.is_empty() {
        return saved > 0.0 || running.is_empty();
    }
    let (Some(encode), Some(steps)) = (latencies.encode_seconds(next.tokens), latencies.steps())
    else {
        return true;
    };
    let left = |runner: &Runner| (steps - runner.steps as f64).max(1.0);
    let until = running.iter().map(left).fold(f64::INFINITY, f64::min);
    let leaving = running.iter().filter(|runner| left(runner) < until + 2.0).count();
    let gained = waiting as f64 * until * saved;
    gained >= leaving as f64 * (encode + until * (joined - now))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Learned of steps that take these milliseconds by rows, and documents of 48 steps.
    fn learned(encode: f64, step: impl Fn(usize) -> f64) -> Latencies {
        let milliseconds = |value: f64| Duration::from_secs_f64(value / 1e3);
        let mut latencies = Latencies::default();
        latencies.encoded(1, milliseconds(encode));
        for rows in (4..=64).step_by(4) {
            latencies.stepped(rows, milliseconds(step(rows)));
        }
        latencies.finished(48);
        latencies
    }

    const NEXT: Next = Next { rows: 4, tokens: 1, longest: 48 };

    fn runners(steps: &[usize]) -> Vec<Runner> {
        steps.iter().map(|&steps| Runner { rows: 4, steps }).collect()
    }

    fn time(latencies: &Latencies, waiting: usize, steps: &[usize]) -> bool {
        is_time(Goal::Latency, latencies, &NEXT, waiting, &runners(steps))
    }

    #[test]
    fn nothing_waits_for_what_is_not_known() {
        assert!(time(&Latencies::default(), 1, &[1, 1]));
    }

    #[test]
    fn who_is_encoded_quickly_joins_at_once() {
        let latencies = learned(5.0, |rows| 5.0 + 0.4 * rows as f64);
        assert!(time(&latencies, 1, &[1]));
        assert!(time(&latencies, 1, &[1, 20, 30]));
        assert!(!time(&latencies, 1, &[47]), "one step later it is free");
    }

    #[test]
    fn a_long_encoder_waits_for_the_running_unless_many_wait() {
        let latencies = learned(300.0, |rows| 5.0 + 0.4 * rows as f64);
        assert!(!time(&latencies, 1, &[10]));
        assert!(time(&latencies, 10, &[10]));
        assert!(!time(&latencies, 3, &[10, 10, 10]), "three would leave later");
    }

    #[test]
    fn steps_as_long_as_their_rows_are_not_shared() {
        let latencies = learned(0.0, |rows| rows as f64);
        for goal in [Goal::Latency, Goal::Throughput] {
            assert!(!is_time(goal, &latencies, &NEXT, 9, &runners(&[1])));
            assert!(is_time(goal, &latencies, &NEXT, 1, &[]));
        }
    }

    #[test]
    fn rows_behind_a_cliff_are_not_taken() {
        let latencies = learned(300.0, |rows| if rows > 12 { 100.0 } else { 10.0 });
        let is_time =
            |running: &[usize]| is_time(Goal::Throughput, &latencies, &NEXT, 1, &runners(running));
        assert!(is_time(&[1, 1]));
        assert!(!is_time(&[1, 1, 1]));
    }

    #[test]
    fn memory_is_that_of_sixteen_rows() {
        let bounds = Bounds::new(64, 512);
        let fit = |next: Next, count: usize| bounds.admit(&next, vec![next; count - 1].iter());
        let beams = Next { rows: 4, tokens: 512, longest: 142 };
        assert!(fit(beams, 16) && !fit(beams, 17), "64 rows");
        let greedy = Next { rows: 1, ..beams };
        assert!(fit(greedy, 16) && !fit(greedy, 17), "16 sources of 512 tokens");
        let short = Next { tokens: 64, ..greedy };
        assert!(fit(short, 64) && !fit(short, 65));
        let long = Next { rows: 4, tokens: 64, longest: 1024 };
        assert!(fit(long, 4) && !fit(long, 5), "histories of 16 rows");
    }
}
