//! `begin_suppress_tokens`.

use super::processor::{Context, Effect, LogitsProcessor, forbid};

/// Forbids these tokens where the output begins.
pub(super) struct SuppressTokensAtBeginLogitsProcessor {
    tokens: Vec<u32>,
    /// Length of the history at which the output begins.
    begin: usize,
}

impl SuppressTokensAtBeginLogitsProcessor {
    pub(super) fn new(tokens: &[u32], begin: usize) -> Self {
        Self {
            tokens: tokens.to_vec(),
            begin,
        }
    }
}

impl LogitsProcessor for SuppressTokensAtBeginLogitsProcessor {
    fn effect(&self, context: &Context<'_>) -> Effect {
        if context.tokens.len() == self.begin {
            Effect::Forbids
        } else {
            Effect::Nothing
        }
    }

    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        if self.effect(context) == Effect::Forbids {
            forbid(scores, &self.tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::forbidden;
    use super::*;

    #[test]
    fn only_the_beginning_is_touched() {
        let mut processor = SuppressTokensAtBeginLogitsProcessor::new(&[3], 2);
        assert_eq!(forbidden(&mut processor, &[0], &[]), [0; 0]);
        assert_eq!(forbidden(&mut processor, &[0, 8], &[]), [3]);
        assert_eq!(forbidden(&mut processor, &[0, 8, 8], &[]), [0; 0]);
    }
}
