//! How long work takes, learned from work that was done: it tells how many texts to decode together.
//!
//! Texts that are decoded together share every reading of the weights, but each step takes longer, and none of them
//! begins before all are encoded. Whether that is faster depends on the model, the processor and the beams.

use std::collections::BTreeMap;
use std::time::Duration;

use epitome_runtime::Summary;

/// How much the newest batch counts in a mean.
const NEWEST: f64 = 0.2;
/// An observation of so many decoder steps counts as much as what was known before.
const HALF: f64 = 32.0;
/// After so many batches without any of its rows, a time is forgotten: one bad moment is not held against it forever.
const MEMORY: u64 = 256;

/// How long the parts of the work take.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Seconds of the encoder for a text.
    encode: Option<f64>,
    /// Decoder steps of a text.
    steps: Option<f64>,
    /// Seconds of a decoder step, by rows (texts times beams).
    step: BTreeMap<usize, Step>,
    /// Seconds that a text keeps a worker busy.
    per_text: Option<f64>,
    /// Batches that were observed.
    batches: u64,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    seconds: f64,
    /// The batch that was the last to tell.
    told: u64,
}

/// What a text of a batch tells of the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    pub(super) encode: Duration,
    /// Until this text was finished, from the batch's first step on.
    pub(super) decode: Duration,
    pub(super) steps: usize,
}

impl From<&Summary> for Observed {
    fn from(summary: &Summary) -> Self {
        Self {
            encode: summary.timing.encode,
            decode: summary.timing.decode,
            steps: summary.steps,
        }
    }
}

impl Pace {
    /// Learns from texts that were decoded together.
    pub(super) fn observe(&mut self, rows_per_text: usize, mut texts: Vec<Observed>) {
        if texts.is_empty() {
            return;
        }
        self.batches += 1;
        let count = texts.len() as f64;
        let encode: f64 = texts.iter().map(|text| text.encode.as_secs_f64()).sum();
        let steps: usize = texts.iter().map(|text| text.steps).sum();
        let decode = texts.iter().map(|text| text.decode).max();
        let decode = decode.unwrap_or_default().as_secs_f64();
        learn(&mut self.encode, encode / count);
        learn(&mut self.steps, steps as f64 / count);
        learn(&mut self.per_text, (encode + decode) / count);
        // A text that is finished leaves: from then on the steps are those of fewer rows.
        texts.sort_by_key(|text| text.steps);
        let (mut steps, mut time) = (0, Duration::ZERO);
        for (gone, text) in texts.iter().enumerate() {
            if text.steps > steps {
                let seconds = text.decode.saturating_sub(time).as_secs_f64();
                self.observe_steps(
                    rows_per_text * (texts.len() - gone),
                    text.steps - steps,
                    seconds,
                );
            }
            (steps, time) = (text.steps, text.decode);
        }
        let batches = self.batches;
        self.step.retain(|_, step| batches - step.told < MEMORY);
    }

    fn observe_steps(&mut self, rows: usize, steps: usize, seconds: f64) {
        let count = steps as f64;
        let new = seconds / count;
        let weight = count / (count + HALF);
        let told = self.batches;
        self.step
            .entry(rows)
            .and_modify(|step| {
                step.seconds += weight * (new - step.seconds);
                step.told = told;
            })
            .or_insert(Step { seconds: new, told });
    }

    /// Seconds that a text keeps a worker busy.
    pub(super) fn seconds_per_text(&self) -> f64 {
        self.per_text.unwrap_or(0.0)
    }

    /// How many of the waiting texts to decode together, at most `most`: as many as make all of them wait the least.
    ///
    /// As long as nothing is known, all that may be: that is how it becomes known.
    pub(super) fn together(&self, waiting: usize, rows_per_text: usize, most: usize) -> usize {
        let most = most.min(waiting).max(1);
        // Of equals the largest.
        let sizes = (1..=most).rev();
        let size = sizes.min_by(|&a, &b| {
            let [a, b] = [a, b].map(|size| self.total_wait(waiting, size, rows_per_text));
            a.total_cmp(&b)
        });
        size.unwrap_or(most)
    }

    /// The seconds until each of the waiting texts is finished, added up, where `size` at a time are decoded together.
    fn total_wait(&self, waiting: usize, size: usize, rows_per_text: usize) -> f64 {
        let (groups, rest) = ((waiting / size) as f64, waiting % size);
        let each = self.seconds(size, rows_per_text);
        let whole = size as f64 * each * groups * (groups + 1.0) / 2.0;
        whole + rest as f64 * (groups * each + self.seconds(rest, rows_per_text))
    }

    /// Seconds of so many texts together.
    fn seconds(&self, texts: usize, rows_per_text: usize) -> f64 {
        let [encode, steps] = [self.encode, self.steps].map(Option::unwrap_or_default);
        texts as f64 * encode + steps * self.step_seconds(texts * rows_per_text)
    }

    /// Seconds of a step of so many rows: known, or on the line through the nearest known.
    fn step_seconds(&self, rows: usize) -> f64 {
        let point = |(&rows, step): (&usize, &Step)| (rows as f64, step.seconds);
        let mut below = self.step.range(..=rows).rev().map(point);
        let mut above = self.step.range(rows + 1..).map(point);
        let (first, second) = match (below.next(), above.next()) {
            (Some(low), Some(high)) => (low, Some(high)),
            (Some(high), None) => (high, below.next()),
            (None, Some(low)) => (low, above.next()),
            (None, None) => return 0.0,
        };
        let slope = second.map_or(0.0, |second| (second.1 - first.1) / (second.0 - first.0));
        // More rows never take less time, whatever a noisy moment said.
        (first.1 + slope.max(0.0) * (rows as f64 - first.0)).max(0.0)
    }
}

fn learn(mean: &mut Option<f64>, new: f64) {
    *mean = Some(mean.map_or(new, |mean| mean + NEWEST * (new - mean)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: usize = 20;

    /// Learned from batches of 1 to 4 texts with 4 beams, whose steps take these milliseconds.
    fn learned(encode: f64, step: impl Fn(usize) -> f64) -> Pace {
        let mut pace = Pace::default();
        for texts in 1..=4 {
            pace.observe(4, batch(texts, encode, step(4 * texts)));
        }
        pace
    }

    fn batch(texts: usize, encode: f64, step: f64) -> Vec<Observed> {
        let milliseconds = |value: f64| Duration::from_secs_f64(value / 1e3);
        let text = Observed {
            encode: milliseconds(encode),
            decode: milliseconds(step * STEPS as f64),
            steps: STEPS,
        };
        vec![text; texts]
    }

    #[test]
    fn without_any_knowledge_all_are_joined() {
        assert_eq!(Pace::default().together(9, 4, 4), 4);
        assert_eq!(Pace::default().together(3, 4, 4), 3);
        assert_eq!(Pace::default().together(3, 4, 0), 1);
    }

    #[test]
    fn steps_that_take_no_longer_with_more_rows_join_all() {
        let pace = learned(5.0, |_| 10.0);
        for waiting in 1..20 {
            assert_eq!(pace.together(waiting, 4, 4), waiting.min(4));
        }
    }

    #[test]
    fn steps_as_long_as_their_rows_join_none() {
        let pace = learned(5.0, |rows| rows as f64);
        for waiting in 1..20 {
            assert_eq!(pace.together(waiting, 4, 4), 1);
        }
    }

    #[test]
    fn a_long_queue_joins_where_a_short_one_does_not() {
        // 4 beams take 16 ms, and each further text 9 ms: two alone wait 48 steps' ms, together 50.
        let pace = learned(0.0, |rows| 7.0 + 9.0 * (rows / 4) as f64);
        assert_eq!(pace.together(2, 4, 4), 1);
        assert_eq!(pace.together(30, 4, 4), 4);
    }

    #[test]
    fn rows_behind_a_cliff_are_not_taken() {
        let pace = learned(1.0, |rows| if rows > 12 { 100.0 } else { 10.0 });
        assert_eq!(pace.together(4, 4, 4), 3);
        assert_eq!(pace.together(12, 4, 4), 3);
    }

    #[test]
    fn sizes_never_seen_are_judged_by_their_neighbours() {
        let mut pace = Pace::default();
        pace.observe(4, batch(1, 0.0, 4.0));
        assert_eq!(pace.together(4, 4, 4), 4, "nothing speaks against it yet");
        pace.observe(4, batch(2, 0.0, 8.0));
        assert_eq!(pace.together(4, 4, 4), 1, "8 rows take as long as 4 twice");
        pace.observe(8, batch(2, 0.0, 8.0));
        assert_eq!(pace.together(4, 4, 4), 4, "16 rows take no longer than 8");
    }

    #[test]
    fn a_text_that_leaves_tells_of_fewer_rows() {
        let text = |steps: usize, milliseconds| Observed {
            encode: Duration::ZERO,
            decode: Duration::from_millis(milliseconds),
            steps,
        };
        let mut pace = Pace::default();
        // 10 steps of three texts, 10 of two, 10 of one.
        pace.observe(2, vec![text(20, 50), text(10, 30), text(30, 60)]);
        let step = |rows| (pace.step_seconds(rows) * 1e3).round() as u64;
        assert_eq!([step(6), step(4), step(2)], [3, 2, 1]);
        assert_eq!([step(5), step(8)], [3, 4], "between and beyond");
    }

    #[test]
    fn one_bad_moment_is_forgotten() {
        let mut pace = learned(0.0, |rows| if rows == 16 { 1000.0 } else { 10.0 });
        assert_eq!(pace.together(4, 4, 4), 3);
        for _ in 0..MEMORY {
            pace.observe(4, batch(3, 0.0, 10.0));
        }
        assert_eq!(pace.together(4, 4, 4), 4);
    }
}
