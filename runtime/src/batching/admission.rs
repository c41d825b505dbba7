//! Decides when the next document joins the running ones.

use super::demand::{Demand, Goal};
use super::latencies::Latencies;

/// Memory is bounded to that of so many rows with histories and sources of the greatest length.
const ROWS_IN_MEMORY: usize = 16;
/// Greatest length of a history in that bound, in tokens.
const LONGEST_HISTORY: usize = 1024;

/// Upper bounds for the documents that run together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Decoder rows.
    pub(crate) rows: usize,
    /// Tokens in all sources.
    source: usize,
    /// Tokens in the histories of all rows.
    history: usize,
}

impl Bounds {
    /// At most `rows` rows, in the memory of [`ROWS_IN_MEMORY`] rows with sources of
    /// `longest_source` tokens.
    pub(crate) fn new(rows: usize, longest_source: usize) -> Self {
        Self {
            rows,
            source: ROWS_IN_MEMORY.saturating_mul(longest_source),
            history: ROWS_IN_MEMORY * LONGEST_HISTORY,
        }
    }

    /// Whether the next document fits in addition to the running ones.
    pub(super) fn admit<'a>(
        &self,
        next: &Demand,
        running: impl Iterator<Item = &'a Demand>,
    ) -> bool {
        let mut sums = [next.rows, next.tokens, next.history()];
        for one in running {
            for (sum, more) in sums.iter_mut().zip([one.rows, one.tokens, one.history()]) {
                *sum = sum.saturating_add(more);
            }
        }
        sums[0] <= self.rows && sums[1] <= self.source && sums[2] <= self.history
    }
}

/// A running document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runner {
    /// Rows of the document in the last step, including the rows of a draft.
    pub(super) rows: usize,
    /// Decoder steps made for the document.
    pub(super) steps: usize,
}

/// Whether the next of `waiting` documents should join those that run now.
///
/// Documents that decode together share one reading of the weights, so a document that joins saves
/// time for all that wait. But no decoder step is made while it is encoded. For latency, it joins
/// if the time that all waiting documents save until the next running document leaves is at least
/// the time by which the documents that leave then are delayed. For throughput, any saving is
/// enough.
pub(super) fn is_time(
    goal: Goal,
    latencies: &Latencies,
    next: &Demand,
    waiting: usize,
    running: &[Runner],
) -> bool {
    let rows: usize = running.iter().map(|runner| runner.rows).sum();
    let seconds = [rows, rows + next.rows, next.rows].map(|rows| latencies.step_seconds(rows));
    let [Some(now), Some(joined), Some(alone)] = seconds else {
        // Nothing is measured yet: running the documents together measures it.
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

    /// Latencies of an encoder and of steps in milliseconds; a document takes 48 steps.
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

    const NEXT: Demand = Demand { rows: 4, tokens: 1, longest: 48 };

    fn runners(steps: &[usize]) -> Vec<Runner> {
        steps.iter().map(|&steps| Runner { rows: 4, steps }).collect()
    }

    fn time(latencies: &Latencies, waiting: usize, steps: &[usize]) -> bool {
        is_time(Goal::Latency, latencies, &NEXT, waiting, &runners(steps))
    }

    #[test]
    fn documents_join_while_nothing_is_measured() {
        assert!(time(&Latencies::default(), 1, &[1, 1]));
    }

    #[test]
    fn a_document_with_a_quick_encoder_joins_at_once() {
        let latencies = learned(5.0, |rows| 5.0 + 0.4 * rows as f64);
        assert!(time(&latencies, 1, &[1]));
        assert!(time(&latencies, 1, &[1, 20, 30]));
        assert!(!time(&latencies, 1, &[47]), "one step later it is free");
    }

    #[test]
    fn a_document_with_a_slow_encoder_waits_unless_many_wait() {
        let latencies = learned(300.0, |rows| 5.0 + 0.4 * rows as f64);
        assert!(!time(&latencies, 1, &[10]));
        assert!(time(&latencies, 10, &[10]));
        assert!(!time(&latencies, 3, &[10, 10, 10]), "three would leave later");
    }

    #[test]
    fn documents_run_alone_where_a_step_takes_time_by_rows() {
        let latencies = learned(0.0, |rows| rows as f64);
        for goal in [Goal::Latency, Goal::Throughput] {
            assert!(!is_time(goal, &latencies, &NEXT, 9, &runners(&[1])));
            assert!(is_time(goal, &latencies, &NEXT, 1, &[]));
        }
    }

    #[test]
    fn documents_do_not_join_where_steps_become_much_slower() {
        let latencies = learned(300.0, |rows| if rows > 12 { 100.0 } else { 10.0 });
        let is_time =
            |running: &[usize]| is_time(Goal::Throughput, &latencies, &NEXT, 1, &runners(running));
        assert!(is_time(&[1, 1]));
        assert!(!is_time(&[1, 1, 1]));
    }

    #[test]
    fn memory_is_bounded_to_sixteen_rows() {
        let bounds = Bounds::new(64, 512);
        let fit = |next: Demand, count: usize| bounds.admit(&next, vec![next; count - 1].iter());
        let beams = Demand { rows: 4, tokens: 512, longest: 142 };
        assert!(fit(beams, 16) && !fit(beams, 17), "64 rows");
        let greedy = Demand { rows: 1, ..beams };
        assert!(fit(greedy, 16) && !fit(greedy, 17), "16 sources of 512 tokens");
        let short = Demand { tokens: 64, ..greedy };
        assert!(fit(short, 64) && !fit(short, 65));
        let long = Demand { rows: 4, tokens: 64, longest: 1024 };
        assert!(fit(long, 4) && !fit(long, 5), "histories of 16 rows");
    }
}
