//! How long documents take, learned from finished batches. It says how many to decode together.
//!
//! Documents of one batch share every reading of the weights, but each step takes longer, and no
//! document starts to decode before all are encoded. Whether a larger batch is faster depends on
//! the model, the processor and the number of beams.

use std::collections::BTreeMap;
use std::time::Duration;

use epitome_runtime::Summary;

/// Weight of the newest batch in an exponential moving average.
const SMOOTHING: f64 = 0.2;
/// A sample of this many decoder steps weighs as much as all samples before it.
const HALF_WEIGHT_STEPS: f64 = 32.0;
/// A step time is dropped after this many batches without a sample: one slow moment is forgotten.
const MAX_AGE_BATCHES: u64 = 256;

/// Moving averages of what encoding and decoding take.
#[derive(Debug, Default)]
pub(super) struct LatencyModel {
    /// Encoder seconds of a document.
    encode: Option<f64>,
    /// Decoder steps of a document.
    steps: Option<f64>,
    /// Seconds of a decoder step, by rows (documents times beams).
    step: BTreeMap<usize, StepTime>,
    /// Seconds of a worker that a document takes.
    per_document: Option<f64>,
    /// Batches observed.
    batches: u64,
}

#[derive(Clone, Copy, Debug)]
struct StepTime {
    seconds: f64,
    /// Number of the last batch with a sample.
    last_batch: u64,
}

/// Times of one document of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) encode: Duration,
    /// From the batch's first decoder step to this document's last.
    pub(super) decode: Duration,
    pub(super) steps: usize,
}

impl From<&Summary> for Sample {
    fn from(summary: &Summary) -> Self {
        Self { encode: summary.timing.encode, decode: summary.timing.decode, steps: summary.steps }
    }
}

impl LatencyModel {
    /// Learns from the documents of a batch.
    pub(super) fn observe(&mut self, rows_per_document: usize, mut samples: Vec<Sample>) {
        if samples.is_empty() {
            return;
        }
        self.batches += 1;
        let count = samples.len() as f64;
        let encode: f64 = samples.iter().map(|sample| sample.encode.as_secs_f64()).sum();
        let steps: usize = samples.iter().map(|sample| sample.steps).sum();
        let decode = samples.iter().map(|sample| sample.decode).max();
        let decode = decode.unwrap_or_default().as_secs_f64();
        learn(&mut self.encode, encode / count);
        learn(&mut self.steps, steps as f64 / count);
        learn(&mut self.per_document, (encode + decode) / count);
        // A finished document leaves the batch: later steps have fewer rows.
        samples.sort_by_key(|sample| sample.steps);
        let (mut steps, mut time) = (0, Duration::ZERO);
        for (finished, sample) in samples.iter().enumerate() {
            if sample.steps > steps {
                let seconds = sample.decode.saturating_sub(time).as_secs_f64();
                self.observe_steps(
                    rows_per_document * (samples.len() - finished),
                    sample.steps - steps,
                    seconds,
                );
            }
            (steps, time) = (sample.steps, sample.decode);
        }
        let batches = self.batches;
        self.step.retain(|_, step| batches - step.last_batch < MAX_AGE_BATCHES);
    }

    fn observe_steps(&mut self, rows: usize, steps: usize, seconds: f64) {
        let count = steps as f64;
        let new = seconds / count;
        let weight = count / (count + HALF_WEIGHT_STEPS);
        let last_batch = self.batches;
        self.step
            .entry(rows)
            .and_modify(|step| {
                step.seconds += weight * (new - step.seconds);
                step.last_batch = last_batch;
            })
            .or_insert(StepTime { seconds: new, last_batch });
    }

    /// Seconds of a worker that a document takes; 0 before the first batch.
    pub(super) fn seconds_per_document(&self) -> f64 {
        self.per_document.unwrap_or(0.0)
    }

    /// How many of the waiting documents to decode together, at most `max`: the size with the least
    /// total waiting time.
    ///
    /// Before the first batch that is `max`: large batches are how their times become known.
    pub(super) fn batch_size(&self, waiting: usize, rows_per_document: usize, max: usize) -> usize {
        let max = max.min(waiting).max(1);
        // The largest of equals.
        let sizes = (1..=max).rev();
        let size = sizes.min_by(|&a, &b| {
            let [a, b] = [a, b].map(|size| self.total_wait(waiting, size, rows_per_document));
            a.total_cmp(&b)
        });
        size.unwrap_or(max)
    }

    /// The sum of all waiting documents' seconds until they are finished, in batches of `size`.
    fn total_wait(&self, waiting: usize, size: usize, rows_per_document: usize) -> f64 {
        let (groups, rest) = ((waiting / size) as f64, waiting % size);
        let each = self.seconds(size, rows_per_document);
        let whole = size as f64 * each * groups * (groups + 1.0) / 2.0;
        whole + rest as f64 * (groups * each + self.seconds(rest, rows_per_document))
    }

    /// Seconds of a batch of this many documents.
    fn seconds(&self, documents: usize, rows_per_document: usize) -> f64 {
        let [encode, steps] = [self.encode, self.steps].map(Option::unwrap_or_default);
        documents as f64 * encode + steps * self.step_seconds(documents * rows_per_document)
    }

    /// Seconds of a step of this many rows: measured, or on the line through the nearest measured.
    fn step_seconds(&self, rows: usize) -> f64 {
        let point = |(&rows, step): (&usize, &StepTime)| (rows as f64, step.seconds);
        let mut below = self.step.range(..=rows).rev().map(point);
        let mut above = self.step.range(rows + 1..).map(point);
        let (first, second) = match (below.next(), above.next()) {
            (Some(low), Some(high)) => (low, Some(high)),
            (Some(high), None) => (high, below.next()),
            (None, Some(low)) => (low, above.next()),
            (None, None) => return 0.0,
        };
        let slope = second.map_or(0.0, |second| (second.1 - first.1) / (second.0 - first.0));
        // A noisy sample must not make more rows look faster.
        (first.1 + slope.max(0.0) * (rows as f64 - first.0)).max(0.0)
    }
}

fn learn(mean: &mut Option<f64>, new: f64) {
    *mean = Some(mean.map_or(new, |mean| mean + SMOOTHING * (new - mean)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: usize = 20;

    /// Learned from batches of 1 to 4 documents with 4 beams, whose steps take these milliseconds.
    fn learned(encode: f64, step: impl Fn(usize) -> f64) -> LatencyModel {
        let mut latencies = LatencyModel::default();
        for documents in 1..=4 {
            latencies.observe(4, batch(documents, encode, step(4 * documents)));
        }
        latencies
    }

    fn batch(documents: usize, encode: f64, step: f64) -> Vec<Sample> {
        let milliseconds = |value: f64| Duration::from_secs_f64(value / 1e3);
        let document = Sample {
            encode: milliseconds(encode),
            decode: milliseconds(step * STEPS as f64),
            steps: STEPS,
        };
        vec![document; documents]
    }

    #[test]
    fn before_the_first_batch_all_are_decoded_together() {
        assert_eq!(LatencyModel::default().batch_size(9, 4, 4), 4);
        assert_eq!(LatencyModel::default().batch_size(3, 4, 4), 3);
        assert_eq!(LatencyModel::default().batch_size(3, 4, 0), 1);
    }

    #[test]
    fn steps_that_take_no_longer_with_more_rows_join_all() {
        let latencies = learned(5.0, |_| 10.0);
        for waiting in 1..20 {
            assert_eq!(latencies.batch_size(waiting, 4, 4), waiting.min(4));
        }
    }

    #[test]
    fn steps_as_long_as_their_rows_join_none() {
        let latencies = learned(5.0, |rows| rows as f64);
        for waiting in 1..20 {
            assert_eq!(latencies.batch_size(waiting, 4, 4), 1);
        }
    }

    #[test]
    fn a_long_queue_joins_where_a_short_one_does_not() {
        // 4 beams take 16 ms, and each further text 9 ms: two alone wait 48 steps' ms, together 50.
        let latencies = learned(0.0, |rows| 7.0 + 9.0 * (rows / 4) as f64);
        assert_eq!(latencies.batch_size(2, 4, 4), 1);
        assert_eq!(latencies.batch_size(30, 4, 4), 4);
    }

    #[test]
    fn rows_behind_a_cliff_are_not_taken() {
        let latencies = learned(1.0, |rows| if rows > 12 { 100.0 } else { 10.0 });
        assert_eq!(latencies.batch_size(4, 4, 4), 3);
        assert_eq!(latencies.batch_size(12, 4, 4), 3);
    }

    #[test]
    fn sizes_never_seen_are_judged_by_their_neighbours() {
        let mut latencies = LatencyModel::default();
        latencies.observe(4, batch(1, 0.0, 4.0));
        assert_eq!(latencies.batch_size(4, 4, 4), 4, "nothing speaks against it yet");
        latencies.observe(4, batch(2, 0.0, 8.0));
        assert_eq!(latencies.batch_size(4, 4, 4), 1, "8 rows take as long as 4 twice");
        latencies.observe(8, batch(2, 0.0, 8.0));
        assert_eq!(latencies.batch_size(4, 4, 4), 4, "16 rows take no longer than 8");
    }

    #[test]
    fn a_finished_document_gives_samples_of_fewer_rows() {
        let document = |steps: usize, milliseconds| Sample {
            encode: Duration::ZERO,
            decode: Duration::from_millis(milliseconds),
            steps,
        };
        let mut latencies = LatencyModel::default();
        // 10 steps of three documents, 10 of two, 10 of one.
        latencies.observe(2, vec![document(20, 50), document(10, 30), document(30, 60)]);
        let step = |rows| (latencies.step_seconds(rows) * 1e3).round() as u64;
        assert_eq!([step(6), step(4), step(2)], [3, 2, 1]);
        assert_eq!([step(5), step(8)], [3, 4], "between and beyond");
    }

    #[test]
    fn one_bad_moment_is_forgotten() {
        let mut latencies = learned(0.0, |rows| if rows == 16 { 1000.0 } else { 10.0 });
        assert_eq!(latencies.batch_size(4, 4, 4), 3);
        for _ in 0..MAX_AGE_BATCHES {
            latencies.observe(4, batch(3, 0.0, 10.0));
        }
        assert_eq!(latencies.batch_size(4, 4, 4), 4);
    }
}
