//! How many copies of a model work side by side, and with how many threads each.
//!
//! A model of the costs decides. A summary takes an encoder run and some steps of the decoder. More
//! threads share their arithmetic and their reading of weights, and wait for each other after every
//! operator. More workers wait for nobody, and read the weights once each. So a small model gains
//! from workers, and a large one from threads. `docs/tuning.md` has a table.

use std::num::NonZeroUsize;

use crate::bundle::{Manifest, ModelShape, Precision};

/// Tokens of the source, steps and beams of a usual summary.
const SOURCE: usize = 512;
const STEPS: f64 = 48.0;
const BEAMS: f64 = 4.0;

/// Multiplications and additions that a thread makes in a second of an encoder.
const FLOAT_PER_SECOND: f64 = 60e9;
const INT8_PER_SECOND: f64 = 160e9;
/// Bytes that one thread reads from memory in a second, and that all can read together.
const BYTES_PER_SECOND: f64 = 15e9;
const ALL_BYTES_PER_SECOND: f64 = 60e9;
/// Bytes of weights that stay in the caches from step to step.
const CACHED_BYTES: f64 = 16e6;
/// Operators of a layer whose work is shared, and what it takes two threads to wait for each other
/// after each. It grows with every doubling of the threads.
const OPERATORS: f64 = 10.0;
const BARRIER_SECONDS: f64 = 9e-6;

/// Of the best number of summaries a second, the share that fewer and quicker workers keep.
const KEPT: f64 = 0.75;

/// Workers, and the threads of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Copies of the model that work side by side. They share the mapped weights.
    pub workers: NonZeroUsize,
    /// Threads of each copy.
    pub threads: NonZeroUsize,
}

impl Concurrency {
    /// For a server: the most threads for a summary, and so about the quickest, with which it still
    /// makes three quarters of the summaries a second that any choice makes.
    pub fn for_server(manifest: &Manifest, processors: NonZeroUsize) -> Self {
        Self::for_shape(&manifest.shape, manifest.precision, processors)
    }

    fn for_shape(shape: &ModelShape, precision: Precision, processors: NonZeroUsize) -> Self {
        let costs = Costs::of(shape, precision);
        let choices = Self::choices(processors);
        let best =
            choices.iter().map(|choice| costs.summaries_per_second(choice)).fold(0.0, f64::max);
        let is_enough = |choice: &&Self| costs.summaries_per_second(choice) >= KEPT * best;
        *choices.iter().filter(is_enough).max_by_key(|choice| choice.threads).expect("one is best")
    }

    /// Every whole number of workers that have the same number of threads.
    fn choices(processors: NonZeroUsize) -> Vec<Self> {
        let threads =
            (1..=processors.get()).filter(|threads| processors.get().is_multiple_of(*threads));
        let choice = |threads: usize| {
            let workers = NonZeroUsize::new(processors.get() / threads)?;
            Some(Self { workers, threads: NonZeroUsize::new(threads)? })
        };
        threads.filter_map(choice).collect()
    }
}

/// What a usual summary takes.
struct Costs {
    /// Multiplications and additions of the encoder.
    encoder: f64,
    /// Those of a decoder step.
    step: f64,
    per_second: f64,
    /// Bytes of weights that a step reads.
    step_bytes: f64,
    encoder_layers: f64,
    decoder_layers: f64,
}

impl Costs {
    fn of(shape: &ModelShape, precision: Precision) -> Self {
        let hidden = shape.hidden_size as f64;
        // Attention has four matrices, and the feed-forward layer usually the size of eight.
        let encoder = 12.0 * hidden * hidden * shape.encoder_layers as f64;
        let decoder =
            16.0 * hidden * hidden * shape.decoder_layers as f64 + hidden * shape.vocab_size as f64;
        let (bytes, per_second) = match precision {
            Precision::Fp32 => (4.0, FLOAT_PER_SECOND),
            Precision::Fp16 => (2.0, FLOAT_PER_SECOND),
            Precision::Int8 => (1.0, INT8_PER_SECOND),
            Precision::Int4 => (0.6, INT8_PER_SECOND),
        };
        Self {
            encoder: encoder * shape.max_source_positions.min(SOURCE) as f64,
            step: decoder * BEAMS,
            per_second,
            step_bytes: decoder * bytes,
            encoder_layers: shape.encoder_layers as f64,
            decoder_layers: shape.decoder_layers as f64,
        }
    }

    fn summaries_per_second(&self, choice: &Concurrency) -> f64 {
        let (workers, threads) = (choice.workers.get() as f64, choice.threads.get() as f64);
        let waits = OPERATORS * BARRIER_SECONDS * threads.log2();
        let bytes = (threads * BYTES_PER_SECOND).min(ALL_BYTES_PER_SECOND / workers);
        let arithmetic = threads * self.per_second;
        let encoder = self.encoder / arithmetic + self.encoder_layers * waits;
        let is_cached = self.step_bytes < CACHED_BYTES;
        let reading = if is_cached { 0.0 } else { self.step_bytes / bytes };
        let step = (self.step / arithmetic).max(reading) + self.decoder_layers * waits;
        workers / (encoder + STEPS * step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(hidden: usize, encoder: usize, decoder: usize, vocabulary: usize) -> ModelShape {
        ModelShape {
            hidden_size: hidden,
            encoder_layers: encoder,
            decoder_layers: decoder,
            heads: hidden / 64,
            head_size: 64,
            vocab_size: vocabulary,
            source_vocab_size: None,
            max_source_positions: 1024,
            max_target_positions: None,
            global_attention: false,
            source_prompt: 0,
        }
    }

    /// Workers and threads.
    fn chosen(shape: &ModelShape, precision: Precision, processors: usize) -> (usize, usize) {
        let processors = processors.try_into().unwrap();
        let chosen = Concurrency::for_shape(shape, precision, processors);
        (chosen.workers.get(), chosen.threads.get())
    }

    #[test]
    fn small_models_gain_from_workers_and_large_ones_from_threads() {
        let trained = shape(192, 3, 3, 5120);
        let distilbart = shape(1024, 12, 6, 50_265);
        assert_eq!(chosen(&trained, Precision::Fp32, 1), (1, 1));
        assert_eq!(chosen(&trained, Precision::Fp32, 2), (2, 1));
        assert_eq!(chosen(&trained, Precision::Fp32, 8), (8, 1));
        assert_eq!(chosen(&distilbart, Precision::Int8, 2), (1, 2));
        assert_eq!(chosen(&distilbart, Precision::Int8, 8), (2, 4));
        assert_eq!(chosen(&distilbart, Precision::Fp32, 8), (1, 8));
    }

    #[test]
    fn all_processors_have_work() {
        for processors in 1..=96 {
            let (workers, threads) =
                chosen(&shape(1024, 16, 16, 96_103), Precision::Int8, processors);
            assert_eq!(workers * threads, processors);
        }
    }
}
