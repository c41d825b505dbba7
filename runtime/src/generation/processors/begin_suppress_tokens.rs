//! `begin_suppress_tokens`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, forbid, made};

/// Creates the processor if `begin_suppress_tokens` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let tokens = settings.tokens.known(settings.parameters.begin_suppress_tokens.as_deref());
    let prompt_length = settings.lengths.prompt.len();
    // The output begins after a forced first token.
    let forced = prompt_length == 1 && settings.parameters.forced_bos_token_id.is_some();
    let begin = prompt_length + usize::from(forced);
    made((!tokens.is_empty()).then(|| SuppressTokensAtBeginLogitsProcessor::new(&tokens, begin)))
}

/// Forbids these tokens at the beginning of the output.
pub(super) struct SuppressTokensAtBeginLogitsProcessor {
    tokens: Vec<u32>,
    /// Length of the history at which the output begins.
    begin: usize,
}

impl SuppressTokensAtBeginLogitsProcessor {
    pub(super) fn new(tokens: &[u32], begin: usize) -> Self {
        Self { tokens: tokens.to_vec(), begin }
    }
}

impl LogitsProcessor for SuppressTokensAtBeginLogitsProcessor {
    fn effect(&self, context: &Context<'_>) -> Effect {
        if context.tokens.len() == self.begin { Effect::Forbids } else { Effect::Nothing }
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
