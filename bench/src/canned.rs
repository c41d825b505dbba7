//! A decoder that costs nothing, so that a search can be measured alone.

use std::convert::Infallible;

use epitome_runtime::generation::{
    GenerationConfig, GenerationParameters, Limits, Source, StepModel, generate,
};
use serde_json::Map;

use crate::random::Random;

/// The vocabulary of google/pegasus-large.
pub const VOCAB_SIZE: usize = 96_103;
/// Different steps that are told over and over: enough that no step finds the last one's logits in
/// the nearest cache, few enough to stay in memory that a real decoder's logits would be in.
const STEPS: usize = 4;
const PAD: u32 = 0;
const EOS: u32 = 1;

/// A [`StepModel`] with logits made beforehand, in which the end token never wins.
pub struct CannedModel {
    fresh: Vec<Vec<f32>>,
    steps: Vec<Vec<f32>>,
    step: usize,
}

impl CannedModel {
    /// Logits for this many rows.
    pub fn new(rows: usize) -> Self {
        let mut random = Random::new(7);
        let fresh: Vec<Vec<f32>> = (0..STEPS)
            .map(|_| {
                let mut logits: Vec<f32> = (0..rows * VOCAB_SIZE)
                    .map(|_| 3.0 * random.normal())
                    .collect();
                for row in logits.chunks_exact_mut(VOCAB_SIZE) {
                    row[EOS as usize] = -30.0;
                }
                logits
            })
            .collect();
        Self {
            steps: fresh.clone(),
            fresh,
            step: 0,
        }
    }

    /// Undoes what searches wrote over the logits.
    pub fn refresh(&mut self) {
        for (step, fresh) in self.steps.iter_mut().zip(&self.fresh) {
            step.copy_from_slice(fresh);
        }
        self.step = 0;
    }
}

impl StepModel for CannedModel {
    type Error = Infallible;

    fn vocab_size(&self) -> usize {
        VOCAB_SIZE
    }

    fn step(&mut self, _: &[u32], _: &[u32]) -> Result<&mut [f32], Infallible> {
        self.step += 1;
        Ok(&mut self.steps[(self.step - 1) % STEPS])
    }

    fn retain(&mut self, _: &[usize]) -> Result<(), Infallible> {
        unreachable!("one document is never taken out of a batch")
    }
}

/// A search over canned logits, ready to run again and again.
pub struct CannedSearch {
    model: CannedModel,
    config: GenerationConfig,
    source: Vec<u32>,
}

impl CannedSearch {
    /// A search with these parameters; `num_beams` must be given.
    ///
    /// # Panics
    ///
    /// When the parameters are not valid: they are written in code.
    pub fn new(parameters: &GenerationParameters) -> Self {
        let parameters = GenerationParameters {
            decoder_start_token_id: Some(PAD),
            pad_token_id: Some(PAD),
            eos_token_id: Some(vec![EOS]),
            ..parameters.clone()
        };
        let limits = Limits {
            max_target_positions: None,
            vocab_size: VOCAB_SIZE,
        };
        let config = GenerationConfig::resolve(&Map::new(), &parameters, limits);
        let config = config.expect("sound parameters");
        Self {
            model: CannedModel::new(config.rows_per_document()),
            config,
            source: (2..102).collect(),
        }
    }

    /// Undoes what the last runs wrote over the logits; no part of the search.
    pub fn refresh(&mut self) {
        self.model.refresh();
    }

    /// Searches, and returns the steps made.
    pub fn run(&mut self) -> usize {
        let sources = [Source::new(&self.source)];
        let generated = generate(&mut self.model, &sources, &self.config, &mut ());
        generated.expect("sound logits")[0].steps
    }
}

/// Beam search with 4 beams and nothing else to do.
pub fn plain_search(steps: usize) -> GenerationParameters {
    GenerationParameters {
        num_beams: Some(4),
        max_new_tokens: Some(steps),
        ..Default::default()
    }
}

/// The same, with the logits processors that summarization uses.
pub fn processed_search(steps: usize) -> GenerationParameters {
    GenerationParameters {
        no_repeat_ngram_size: Some(3),
        min_length: Some(steps),
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
        let mut search = CannedSearch::new(&plain_search(6));
        assert_eq!(search.run(), 6);
        search.refresh();
        assert_eq!(search.run(), 6);
        let mut search = CannedSearch::new(&processed_search(6));
        assert_eq!(search.run(), 6);
    }
}
