//! Greedy search and sampling: each sequence grows by one token a step.
//!
//! Implements `GenerationMixin._sample` (transformers 5.23.0), which serves both.

use super::super::config::{GenerationConfig, Sampling};
use super::super::kernels::exp::exp;
use super::super::kernels::normalizer::{argmax, normalize};
use super::super::model::Source;
use super::super::outcome::{Hypothesis, StopReason};
use super::super::processors::Context;
use super::super::random::Key;
use super::super::stopping::StoppingCriteria;
use super::{DocumentSearch, Fault, Workspace};

/// The sequences of one document.
pub(super) struct SingleSearch<'a> {
    source: &'a [u32],
    criteria: StoppingCriteria,
    prompt_length: usize,
    /// Fed to sequences that are finished while others of the document are not.
    pad: u32,
    /// Where draws come from; `None` takes the best token.
    random: Option<Key>,
    with_token_scores: bool,
    sequences: Vec<Sequence>,
}

struct Sequence {
    tokens: Vec<u32>,
    token_scores: Vec<f32>,
    stopped: Option<StopReason>,
}

impl<'a> SingleSearch<'a> {
    pub(super) fn new(
        config: &GenerationConfig,
        source: &Source<'a>,
        sampling: Option<&Sampling>,
    ) -> Self {
        let prompt = &config.lengths.prompt;
        let sequence = || Sequence {
            tokens: prompt.clone(),
            token_scores: Vec::new(),
            stopped: None,
        };
        Self {
            source: source.token_ids,
            criteria: StoppingCriteria::new(config, source),
            prompt_length: prompt.len(),
            pad: config.tokens.pad,
            random: sampling.map(|sampling| Key::new(sampling.seed, source.token_ids)),
            with_token_scores: config.output_scores,
            sequences: (0..config.rows_per_document())
                .map(|_| sequence())
                .collect(),
        }
    }

    /// The next token of a sequence, from processed scores.
    fn choose(
        &self,
        number: usize,
        scores: &[f32],
        workspace: &mut Workspace,
    ) -> Result<usize, Fault> {
        let Some(random) = self.random else {
            return argmax(scores, &mut workspace.maxima).ok_or(Fault::NotANumber);
        };
        let normalizer = normalize(scores, &mut workspace.maxima, &mut workspace.sums);
        if !normalizer.is_valid() {
            let nothing = scores.iter().all(|score| *score == f32::NEG_INFINITY);
            return Err(if nothing {
                Fault::NothingToSample
            } else {
                Fault::NotANumber
            });
        }
        let step = self.sequences[number].tokens.len() - self.prompt_length;
        let uniform = random.at(number as u64).at(step as u64).uniform();
        Ok(draw(scores, normalizer.max, uniform))
    }
}

/// Draws an index by weight `exp(score - max)`: the first at which the running sum exceeds `uniform` of the total.
fn draw(scores: &[f32], max: f32, uniform: f64) -> usize {
    let weight = |score: &f32| f64::from(exp(*score - max));
    let mut left = uniform * scores.iter().map(weight).sum::<f64>();
    let mut last = 0;
    for (index, score) in scores.iter().enumerate() {
        let weight = weight(score);
        if weight > 0.0 {
            last = index;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

impl DocumentSearch for SingleSearch<'_> {
    fn feed(&self, tokens: &mut Vec<u32>, parents: &mut Vec<u32>) {
        for (row, sequence) in self.sequences.iter().enumerate() {
            let newest = if sequence.stopped.is_none() {
                sequence.tokens.last()
            } else {
                None
            };
            tokens.push(newest.copied().unwrap_or(self.pad));
            parents.push(row as u32);
        }
    }

    fn advance(
        &mut self,
        logits: &mut [f32],
        workspace: &mut Workspace,
        emit: &mut dyn FnMut(usize, u32),
    ) -> Result<Option<StopReason>, Fault> {
        let out_of_time = self.criteria.out_of_time();
        for (number, row) in logits.chunks_exact_mut(workspace.vocab_size).enumerate() {
            if self.sequences[number].stopped.is_some() {
                continue;
            }
            let context = Context {
                tokens: &self.sequences[number].tokens,
                source: self.source,
            };
            workspace.processors.process(&context, row);
            let token = self.choose(number, row, workspace)?;

            let sequence = &mut self.sequences[number];
            if self.with_token_scores {
                let normalizer = normalize(row, &mut workspace.maxima, &mut workspace.sums);
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
        // The document ends with its last sequence; a cut one says more than those that ended by themselves.
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

    fn length(&self) -> usize {
        self.sequences
            .iter()
            .map(|sequence| sequence.tokens.len())
            .max()
            .unwrap_or(0)
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

    #[test]
    fn draws_follow_the_weights() {
        let weights = [0.5_f64, 0.0, 0.125, 0.25, 0.125];
        let scores = weights.map(|weight| weight.ln() as f32);
        let key = Key::new(3, &[5, 6]);
        let draws = 10_000;
        let mut counts = [0_u32; 5];
        for place in 0..draws {
            counts[draw(&scores, scores[0], key.at(place).uniform())] += 1;
        }
        assert_eq!(counts[1], 0);
        let chi: f64 = weights
            .iter()
            .zip(counts)
            .filter(|(weight, _)| **weight > 0.0)
            .map(|(weight, count)| {
                let expected = weight * draws as f64;
                (f64::from(count) - expected).powi(2) / expected
            })
            .sum();
        assert!(
            chi < 16.3,
            "chi-square {chi} with 3 degrees of freedom, p < 0.001"
        );
    }

    #[test]
    fn the_ends_of_the_interval_draw_the_ends() {
        let scores = [f32::NEG_INFINITY, 0.0, 0.0, f32::NEG_INFINITY];
        assert_eq!(draw(&scores, 0.0, 0.0), 1);
        assert_eq!(draw(&scores, 0.0, 1.0), 2);
    }
}
