//! Chooses the number of workers (copies of a model) and of threads for each worker.
//!
//! The choice follows a cost model. A summary takes an encoder run and some decoder steps. The
//! threads of a worker share the arithmetic and the reading of weights, but synchronize after every
//! operator. Workers do not synchronize, but each reads the weights. So a small model gains from
//! workers, and a large one from threads. `docs/tuning.md` has a table.

use std::num::NonZeroUsize;

use crate::bundle::{Manifest, ModelShape, Precision};

/// Source tokens of a typical summary.
const SOURCE: usize = 512;
/// Decoder steps of a typical summary.
const STEPS: f64 = 48.0;
/// Beams of a typical summary.
const BEAMS: f64 = 4.0;

/// Float32 multiply-adds of the encoder per second and thread.
const FLOAT_PER_SECOND: f64 = 60e9;
/// Int8 multiply-adds of the encoder per second and thread.
const INT8_PER_SECOND: f64 = 160e9;
/// Bytes per second that one thread reads from memory.
const BYTES_PER_SECOND: f64 = 15e9;
/// Bytes per second that all threads together read from memory.
const ALL_BYTES_PER_SECOND: f64 = 60e9;
/// Maximum bytes of weights that stay in the processor's caches between steps.
const CACHED_BYTES: f64 = 16e6;
/// Operators of a layer that use all threads.
const OPERATORS: f64 = 10.0;
/// Time to synchronize two threads after an operator. Each doubling of the threads adds it again.
const BARRIER_SECONDS: f64 = 9e-6;

/// Minimum throughput of a choice, relative to the best throughput.
const MIN_THROUGHPUT: f64 = 0.75;

/// Numbers of workers and threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Number of copies of the model. They share the mapped weights.
    pub workers: NonZeroUsize,
    /// Number of threads of each copy.
    pub threads: NonZeroUsize,
}

impl Concurrency {
    /// The choice for a server: the most threads per worker, and so about the lowest latency, with
    /// at least three quarters of the best throughput.
    pub fn for_server(manifest: &Manifest, processors: NonZeroUsize) -> Self {
        Self::for_shape(&manifest.shape, manifest.precision, processors)
    }

    fn for_shape(shape: &ModelShape, precision: Precision, processors: NonZeroUsize) -> Self {
        let costs = Costs::of(shape, precision);
        let choices = Self::choices(processors);
        let best =
            choices.iter().map(|choice| costs.summaries_per_second(choice)).fold(0.0, f64::max);
        let is_enough =
            |choice: &&Self| costs.summaries_per_second(choice) >= MIN_THROUGHPUT * best;
        *choices.iter().filter(is_enough).max_by_key(|choice| choice.threads).expect("one is best")
    }

    /// All choices that use every processor.
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

/// Costs of a typical summary.
struct Costs {
    /// Multiply-adds of the encoder.
    encoder: f64,
    /// Multiply-adds of a decoder step.
    step: f64,
    /// Multiply-adds per second and thread.
    per_second: f64,
    /// Bytes of weights that a decoder step reads.
    step_bytes: f64,
    encoder_layers: f64,
    decoder_layers: f64,
}

impl Costs {
    fn of(shape: &ModelShape, precision: Precision) -> Self {
        let hidden = shape.hidden_size as f64;
        // Matrices of `hidden * hidden`: attention has four, and the feed-forward network usually
        // has the size of eight.
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
        let synchronization = OPERATORS * BARRIER_SECONDS * threads.log2();
        let bytes = (threads * BYTES_PER_SECOND).min(ALL_BYTES_PER_SECOND / workers);
        let arithmetic = threads * self.per_second;
        let encoder = self.encoder / arithmetic + self.encoder_layers * synchronization;
        let is_cached = self.step_bytes < CACHED_BYTES;
        let reading = if is_cached { 0.0 } else { self.step_bytes / bytes };
        let step = (self.step / arithmetic).max(reading) + self.decoder_layers * synchronization;
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

    /// The chosen numbers of workers and threads.
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
    fn every_processor_is_used() {
        for processors in 1..=96 {
            let (workers, threads) =
                chosen(&shape(1024, 16, 16, 96_103), Precision::Int8, processors);
            assert_eq!(workers * threads, processors);
        }
    }
}
