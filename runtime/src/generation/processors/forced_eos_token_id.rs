//! `forced_eos_token_id`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, force, made};

/// Creates the processor if `forced_eos_token_id` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let Some(tokens) = &settings.parameters.forced_eos_token_id else {
        return Ok(None);
    };
    settings.check_forced("forced_eos_token_id", tokens)?;
    let max_length = settings.lengths.max_length;
    made(Some(ForcedEosTokenLogitsProcessor::new(max_length, tokens)))
}

/// Forces the end tokens if the next token is the last one that `max_length` allows.
pub(super) struct ForcedEosTokenLogitsProcessor {
    max_length: usize,
    tokens: Vec<u32>,
}

impl ForcedEosTokenLogitsProcessor {
    pub(super) fn new(max_length: usize, tokens: &[u32]) -> Self {
        Self { max_length, tokens: tokens.to_vec() }
    }
}

impl LogitsProcessor for ForcedEosTokenLogitsProcessor {
    fn effect(&self, context: &Context<'_>) -> Effect {
        if context.tokens.len() + 1 == self.max_length { Effect::Rewrites } else { Effect::Nothing }
    }

    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        if self.effect(context) == Effect::Rewrites {
            force(scores, &self.tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::{processed, scores};
    use super::*;

    #[test]
    fn only_the_last_token_is_forced() {
        let mut processor = ForcedEosTokenLogitsProcessor::new(3, &[1, 2]);
        let before = scores(50);
        let last = Context::new(&[0, 4], &[]);
        let after = processed(&mut processor, &last, &before);
        assert_eq!((after[1], after[2]), (0.0, 0.0));
        assert_eq!(after.iter().filter(|score| score.is_finite()).count(), 2);
        let earlier = Context::new(&[0], &[]);
        assert_eq!(processed(&mut processor, &earlier, &before), before);
    }
}
