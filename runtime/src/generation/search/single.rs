//! Greedy search and sampling: each sequence grows by one token per step.
//!
//! Implements `GenerationMixin._sample` (transformers 5.24.0), which serves both.

use std::sync::Arc;

use epitome_kernels::simd::exp::exp;

use super::super::config::{GenerationConfig, Sampling};
use super::super::model::Source;
use super::super::outcome::{Hypothesis, StopReason};
use super::super::processors::Context;
use super::super::random::Key;
use super::super::scoring::BLOCK;
use super::super::scoring::normalizer::{argmax, normalize};
use super::super::stopping::StoppingCriteria;
use super::document_search::{DocumentSearch, Fault, Scratch};

/// The sampled or greedy sequences of one document.
pub(super) struct SingleSearch {
    source: Arc<[u32]>,
    criteria: StoppingCriteria,
    prompt_length: usize,
    /// Token that is fed to sequences that are finished while others are not.
    pad: u32,
    /// Random numbers of sampling; `None` takes the best token.
    random: Option<Key>,
    with_token_scores: bool,
    sequences: Vec<Sequence>,
}

struct Sequence {
    tokens: Vec<u32>,
    token_scores: Vec<f32>,
    stopped: Option<StopReason>,
}

impl SingleSearch {
    pub(super) fn new(
        config: &GenerationConfig,
        source: &Source,
        sampling: Option<&Sampling>,
    ) -> Self {
        let prompt = &config.lengths.prompt;
        let sequence =
            || Sequence { tokens: prompt.clone(), token_scores: Vec::new(), stopped: None };
        Self {
            source: source.token_ids.clone(),
            criteria: StoppingCriteria::new(config, source),
            prompt_length: prompt.len(),
            pad: config.tokens.pad,
            random: sampling.map(|sampling| Key::new(sampling.seed, &source.token_ids)),
            with_token_scores: config.output_scores,
            sequences: (0..config.rows_per_document()).map(|_| sequence()).collect(),
        }
    }

    /// Chooses the next token of a sequence from processed scores.
    fn choose(&self, number: usize, scores: &[f32], scratch: &mut Scratch) -> Result<usize, Fault> {
        let Some(random) = self.random else {
            return argmax(scores, &mut scratch.maxima).ok_or(Fault::NotANumber);
        };
        let normalizer = normalize(scores, &mut scratch.maxima, &mut scratch.sums);
        if !normalizer.is_valid() {
            let nothing = scores.iter().all(|score| *score == f32::NEG_INFINITY);
            return Err(if nothing { Fault::NothingToSample } else { Fault::NotANumber });
        }
        let step = self.sequences[number].tokens.len() - self.prompt_length;
        let uniform = random.at(number as u64).at(step as u64).uniform();
        Ok(draw(scores, normalizer.max, scratch, uniform))
    }
}

/// Draws an index by weight `exp(score - max)`: the first one whose cumulative weight exceeds the
/// share `uniform` of the total.
///
/// `scratch` holds maximum and sum of each block of the row, so only one block is searched.
fn draw(scores: &[f32], max: f32, scratch: &Scratch, uniform: f64) -> usize {
    let blocks = scratch.maxima.iter().zip(&scratch.sums).map(|(block_max, sum)| {
        if *sum > 0.0 { f64::from(*sum) * f64::from(exp(*block_max - max)) } else { 0.0 }
    });
    let mut left = uniform * blocks.clone().sum::<f64>();
    // If rounding leaves more than the remaining weight, the last index with weight is drawn.
    let (mut chosen, mut within) = (0, f64::INFINITY);
    for (number, weight) in blocks.enumerate().filter(|(_, weight)| *weight > 0.0) {
        chosen = number;
        if left < weight {
            within = left;
            break;
        }
        left -= weight;
    }
    let start = chosen * BLOCK;
    let mut last = start;
    for (offset, score) in scores[start..].iter().take(BLOCK).enumerate() {
        let weight = f64::from(exp(*score - max));
        if weight > 0.0 {
            last = start + offset;
            within -= weight;
            if within < 0.0 {
                break;
            }
        }
    }
    last
}

impl DocumentSearch for SingleSearch {
    fn feed(&self, tokens: &mut Vec<u32>, parents: &mut Vec<u32>) {
        for (row, sequence) in self.sequences.iter().enumerate() {
            let newest = if sequence.stopped.is_none() { sequence.tokens.last() } else { None };
            tokens.push(newest.copied().unwrap_or(self.pad));
            parents.push(row as u32);
        }
    }

    fn advance(
        &mut self,
        logits: &mut [f32],
        scratch: &mut Scratch,
        emit: &mut dyn FnMut(usize, u32),
    ) -> Result<Option<StopReason>, Fault> {
        let out_of_time = self.criteria.out_of_time();
        for (number, row) in logits.chunks_exact_mut(scratch.vocab_size).enumerate() {
            if self.sequences[number].stopped.is_some() {
                continue;
            }
            let context = Context::new(&self.sequences[number].tokens, &self.source);
            scratch.processors.process(&context, row);
            let token = self.choose(number, row, scratch)?;

            let sequence = &mut self.sequences[number];
            if self.with_token_scores {
                let normalizer = normalize(row, &mut scratch.maxima, &mut scratch.sums);
                sequence.token_scores.push(normalizer.apply(row[token]));
            }
            let token = token as u32;
            sequence.tokens.push(token);
            emit(number, token);
            sequence.stopped = if self.criteria.is_end(token)
                || self.criteria.ends_in_stop_string(&sequence.tokens)
            {
                Some(StopReason::Finished)
            } else if self.criteria.at_max_length(sequence.tokens.len()) {
                Some(StopReason::MaxLength)
            } else if out_of_time {
                Some(StopReason::Deadline)
            } else {
                None
            };
        }
        // The document ends with its last sequence. The reason of a sequence that was cut precedes
        // `Finished`.
        let mut reason = StopReason::Finished;
        for sequence in &self.sequences {
            match sequence.stopped {
                None => return Ok(None),
                Some(StopReason::Finished) => {}
                Some(cut) => reason = cut,
            }
        }
        Ok(Some(reason))
    }

    fn only_history(&self) -> Option<&[u32]> {
        match self.sequences.as_slice() {
            [one] => Some(&one.tokens),
            _ => None,
        }
    }

    fn length(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.tokens.len()).max().unwrap_or(0)
    }

    fn conclude(&mut self, _: StopReason) -> Vec<Hypothesis> {
        let with_token_scores = self.with_token_scores;
        self.sequences
            .drain(..)
            .map(|sequence| Hypothesis {
                token_ids: sequence.tokens,
                score: None,
                token_scores: with_token_scores.then_some(sequence.token_scores),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::processors::LogitsProcessors;

    /// Draws from a row.
    fn draws(scores: &[f32], uniforms: impl Iterator<Item = f64>) -> Vec<usize> {
        let (mut maxima, mut sums) = (Vec::new(), Vec::new());
        let normalizer = normalize(scores, &mut maxima, &mut sums);
        let processors = LogitsProcessors::default();
        let scratch = Scratch { processors, vocab_size: scores.len(), maxima, sums };
        uniforms.map(|uniform| draw(scores, normalizer.max, &scratch, uniform)).collect()
    }

    #[test]
    fn draws_follow_the_weights() {
        // Several blocks, one of them without weight.
        let mut weights = vec![0.0_f64; 4 * BLOCK];
        weights[3..6].copy_from_slice(&[0.25, 0.0, 0.125]);
        weights[BLOCK - 1] = 0.125;
        weights[2 * BLOCK] = 0.25;
        weights[4 * BLOCK - 1] = 0.25;
        let scores: Vec<f32> = weights.iter().map(|weight| weight.ln() as f32).collect();
        let key = Key::new(3, &[5, 6]);
        let count = 10_000;
        let mut counts = vec![0_u32; weights.len()];
        for index in draws(&scores, (0..count).map(|index| key.at(index).uniform())) {
            counts[index] += 1;
        }
        let mut chi = 0.0;
        for (weight, drawn) in weights.iter().zip(counts) {
            let expected = weight * count as f64;
            if expected == 0.0 {
                assert_eq!(drawn, 0);
            } else {
                chi += (f64::from(drawn) - expected).powi(2) / expected;
            }
        }
        assert!(chi < 18.5, "chi-square {chi} with 4 degrees of freedom, p < 0.001");
    }

    #[test]
    fn the_ends_of_the_interval_draw_the_ends() {
        let scores = [f32::NEG_INFINITY, 0.0, 0.0, f32::NEG_INFINITY];
        assert_eq!(draws(&scores, [0.0, 1.0].into_iter()), [1, 2]);
    }
}
