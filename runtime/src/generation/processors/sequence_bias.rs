//! `sequence_bias`.

use super::processor::{Context, Effect, LogitsProcessor};
use crate::generation::parameters::SequenceBias;

/// Adds a bias to the last token of each sequence whose other tokens end the history.
pub(super) struct SequenceBiasLogitsProcessor {
    /// In the order in which transformers adds: single tokens, then groups of equal length as they first appear.
    biases: Vec<(Vec<u32>, f32)>,
    /// Sums of the biases of this step, for the tokens that have any.
    sums: Vec<(u32, f32)>,
}

impl SequenceBiasLogitsProcessor {
    pub(super) fn new(given: &[SequenceBias]) -> Self {
        // Sequences are keys: a later bias for the same sequence replaces an earlier one, and keeps its place.
        let mut unique: Vec<(Vec<u32>, f32)> = Vec::new();
        for one in given {
            let bias = one.bias as f32;
            match unique.iter_mut().find(|(ids, _)| *ids == one.token_ids) {
                Some(known) => known.1 = bias,
                None => unique.push((one.token_ids.clone(), bias)),
            }
        }
        let mut lengths: Vec<usize> = vec![1];
        for (ids, _) in &unique {
            if !lengths.contains(&ids.len()) {
                lengths.push(ids.len());
            }
        }
        let rank = |ids: &[u32]| lengths.iter().position(|length| *length == ids.len());
        unique.sort_by_key(|(ids, _)| rank(ids));
        Self {
            biases: unique,
            sums: Vec::new(),
        }
    }
}

impl LogitsProcessor for SequenceBiasLogitsProcessor {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        // The biases of a token are summed before they meet its score, as floating point sums depend on order.
        self.sums.clear();
        for (ids, bias) in &self.biases {
            let Some((last, before)) = ids.split_last() else {
                continue;
            };
            if context.tokens.ends_with(before) {
                match self.sums.iter_mut().find(|(token, _)| token == last) {
                    Some((_, sum)) => *sum += bias,
                    None => self.sums.push((*last, *bias)),
                }
            }
        }
        for (token, sum) in &self.sums {
            scores[*token as usize] += sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::{processed, scores};
    use super::*;

    #[test]
    fn biases_apply_where_their_sequence_is_under_way() {
        let bias = |ids: &[u32], bias| SequenceBias {
            token_ids: ids.to_vec(),
            bias,
        };
        let mut processor = SequenceBiasLogitsProcessor::new(&[
            bias(&[4, 5], 1.0),
            bias(&[7], 9.0),
            bias(&[5], 2.0),
            bias(&[7], -3.0),
            bias(&[3, 4, 5], 4.0),
            bias(&[9, 4, 5], 8.0),
        ]);
        let before = scores(50);
        let context = Context::new(&[0, 3, 4], &[]);
        let after = processed(&mut processor, &context, &before);
        for (token, (before, after)) in before.iter().zip(&after).enumerate() {
            let expected = match token {
                5 => before + 7.0,
                7 => before - 3.0,
                _ => *before,
            };
            assert_eq!(*after, expected, "token {token}");
        }
    }
}
