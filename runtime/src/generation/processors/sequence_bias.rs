//! `sequence_bias`.

use std::collections::HashMap;

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, made};
use crate::generation::parameters::SequenceBias;

/// Creates the processor if `sequence_bias` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let Some(biases) = &settings.parameters.sequence_bias else {
        return Ok(None);
    };
    for one in biases {
        settings.tokens.check("sequence_bias", &one.token_ids)?;
    }
    made(Some(SequenceBiasLogitsProcessor::new(biases)))
}

/// Adds a bias to the last token of each sequence whose other tokens end the history.
pub(super) struct SequenceBiasLogitsProcessor {
    /// Sequences and biases, sorted by last token. Biases of one token are in the order in which
    /// transformers adds them: single tokens, then groups of equal length as they first appear.
    biases: Vec<(Vec<u32>, f32)>,
}

impl SequenceBiasLogitsProcessor {
    pub(super) fn new(given: &[SequenceBias]) -> Self {
        // A later bias for the same sequence replaces an earlier one at its index.
        let mut indices: HashMap<&[u32], usize> = HashMap::new();
        let mut biases: Vec<(Vec<u32>, f32)> = Vec::new();
        for one in given {
            let bias = one.bias as f32;
            let index = *indices.entry(&one.token_ids).or_insert(biases.len());
            match biases.get_mut(index) {
                Some(known) => known.1 = bias,
                None => biases.push((one.token_ids.clone(), bias)),
            }
        }
        let mut ranks = HashMap::from([(1, 0)]);
        for (ids, _) in &biases {
            let next = ranks.len();
            ranks.entry(ids.len()).or_insert(next);
        }
        biases.sort_by_key(|(ids, _)| (ids.last().copied(), ranks.get(&ids.len()).copied()));
        Self { biases }
    }
}

impl LogitsProcessor for SequenceBiasLogitsProcessor {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        for same_token in self.biases.chunk_by(|(one, _), (other, _)| one.last() == other.last()) {
            let applies = same_token.iter().filter_map(|(ids, bias)| {
                let (_, before) = ids.split_last()?;
                context.tokens.ends_with(before).then_some(*bias)
            });
            // Sum the biases of a token before adding them to its score, for the rounding of
            // transformers.
            if let Some(sum) = applies.reduce(|sum, bias| sum + bias)
                && let Some(token) = same_token[0].0.last()
            {
                scores[*token as usize] += sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::{processed, scores};
    use super::*;

    #[test]
    fn biases_apply_where_their_sequence_is_under_way() {
        let bias = |ids: &[u32], bias| SequenceBias { token_ids: ids.to_vec(), bias };
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
