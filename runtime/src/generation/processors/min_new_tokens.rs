//! `min_new_tokens`.

use super::processor::{
    Context, Effect, LogitsProcessor, Made, Settings, above_zero, forbid, made,
};

/// Creates the processor if `min_new_tokens` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let eos = &settings.tokens.eos;
    let min_new_tokens = above_zero(settings.parameters.min_new_tokens);
    let prompt_length = settings.lengths.prompt.len();
    let new = |new| MinNewTokensLengthLogitsProcessor::new(prompt_length, new, eos);
    made(min_new_tokens.filter(|_| !eos.is_empty()).map(new))
}

/// Forbids the end tokens while fewer than `min_new_tokens` follow the prompt.
pub(super) struct MinNewTokensLengthLogitsProcessor {
    prompt_length: usize,
    min_new_tokens: usize,
    eos: Vec<u32>,
}

impl MinNewTokensLengthLogitsProcessor {
    pub(super) fn new(prompt_length: usize, min_new_tokens: usize, eos: &[u32]) -> Self {
        Self { prompt_length, min_new_tokens, eos: eos.to_vec() }
    }
}

impl LogitsProcessor for MinNewTokensLengthLogitsProcessor {
    fn effect(&self, context: &Context<'_>) -> Effect {
        if context.tokens.len() - self.prompt_length < self.min_new_tokens {
            Effect::Forbids
        } else {
            Effect::Nothing
        }
    }

    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        if self.effect(context) == Effect::Forbids {
            forbid(scores, &self.eos);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::forbidden;
    use super::*;

    #[test]
    fn the_prompt_does_not_count() {
        let mut processor = MinNewTokensLengthLogitsProcessor::new(2, 1, &[1]);
        assert_eq!(forbidden(&mut processor, &[0, 5], &[]), [1]);
        assert_eq!(forbidden(&mut processor, &[0, 5, 6], &[]), [0; 0]);
    }
}
