//! A decoder without a model, to measure a search alone.

use std::convert::Infallible;

use epitome_runtime::generation::{
    Feed, GenerationConfig, GenerationParameters, Limits, Source, StepModel, generate,
};
use fastrand::Rng;
use serde_json::Map;

use crate::random::normal;

/// Vocabulary size of google/pegasus-large.
pub const VOCAB_SIZE: usize = 96_103;
/// Number of steps with different logits, which then repeat. With several, no step finds the logits
/// of the step before in the nearest cache.
const STEPS: usize = 4;
const PAD: u32 = 0;
const EOS: u32 = 1;

/// A [`StepModel`] with precomputed logits. The end token never wins.
struct MockModel {
    fresh: Vec<Vec<f32>>,
    steps: Vec<Vec<f32>>,
    step: usize,
}

impl MockModel {
    /// Creates logits for this number of rows.
    fn new(rows: usize) -> Self {
        let mut random = Rng::with_seed(7);
        let fresh: Vec<Vec<f32>> = (0..STEPS)
            .map(|_| {
                let mut logits: Vec<f32> =
                    (0..rows * VOCAB_SIZE).map(|_| 3.0 * normal(&mut random)).collect();
                for row in logits.chunks_exact_mut(VOCAB_SIZE) {
                    row[EOS as usize] = -30.0;
                }
                logits
            })
            .collect();
        Self { steps: fresh.clone(), fresh, step: 0 }
    }

    /// Restores the logits, which searches overwrite.
    fn restore(&mut self) {
        for (step, fresh) in self.steps.iter_mut().zip(&self.fresh) {
            step.copy_from_slice(fresh);
        }
        self.step = 0;
    }
}

impl StepModel for MockModel {
    type Error = Infallible;

    fn vocab_size(&self) -> usize {
        VOCAB_SIZE
    }

    fn step(&mut self, _: &[Feed<'_>]) -> Result<&mut [f32], Infallible> {
        self.step += 1;
        Ok(&mut self.steps[(self.step - 1) % STEPS])
    }

    fn leave(&mut self, _: usize) {}
}

/// A search over mock logits that can run many times.
pub struct MockSearch {
    model: MockModel,
    config: GenerationConfig,
    source: Vec<u32>,
}

impl MockSearch {
    /// Creates a search with these parameters.
    ///
    /// # Panics
    ///
    /// When the parameters are not valid: they are constants of the caller.
    pub fn new(parameters: &GenerationParameters) -> Self {
        let parameters = GenerationParameters {
            decoder_start_token_id: Some(PAD),
            pad_token_id: Some(PAD.into()),
            eos_token_id: Some(vec![EOS.into()]),
            ..parameters.clone()
        };
        let limits =
            Limits { max_target_positions: None, vocab_size: VOCAB_SIZE, global_attention: false };
        let config = GenerationConfig::resolve(&Map::new(), &parameters, limits);
        let config = config.expect("valid parameters");
        Self {
            model: MockModel::new(config.rows_per_document()),
            config,
            source: (2..102).collect(),
        }
    }

    /// Restores the logits that earlier runs overwrote. This is not part of the search.
    pub fn restore(&mut self) {
        self.model.restore();
    }

    /// Runs the search and returns the number of its steps.
    pub fn run(&mut self) -> usize {
        let sources = [Source::new(&self.source)];
        let generated = generate(&mut self.model, &sources, &self.config, &mut ());
        generated.expect("finite logits")[0].steps
    }
}

/// Beam search with 4 beams and no logits processor.
pub fn plain_search(steps: usize) -> GenerationParameters {
    GenerationParameters { num_beams: Some(4), max_new_tokens: Some(steps), ..Default::default() }
}

/// The same search with the logits processors that summarization uses.
pub fn processed_search(steps: usize) -> GenerationParameters {
    GenerationParameters {
        no_repeat_ngram_size: Some(3),
        min_length: Some(steps as i64),
        repetition_penalty: Some(1.2),
        encoder_no_repeat_ngram_size: Some(3),
        bad_words_ids: Some(vec![vec![5], vec![6, 7]]),
        ..plain_search(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_search_makes_all_its_steps() {
        let mut search = MockSearch::new(&plain_search(6));
        assert_eq!(search.run(), 6);
        search.restore();
        assert_eq!(search.run(), 6);
        let mut search = MockSearch::new(&processed_search(6));
        assert_eq!(search.run(), 6);
    }
}
