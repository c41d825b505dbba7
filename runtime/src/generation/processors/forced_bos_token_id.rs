//! `forced_bos_token_id`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, force, made};

/// Creates the processor if `forced_bos_token_id` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let token = settings.parameters.forced_bos_token_id;
    settings.check_forced("forced_bos_token_id", token.as_slice())?;
    made(token.map(ForcedBosTokenLogitsProcessor::new))
}

/// Forces a token directly after the decoder start.
pub(super) struct ForcedBosTokenLogitsProcessor {
    token: u32,
}

impl ForcedBosTokenLogitsProcessor {
    pub(super) fn new(token: u32) -> Self {
        Self { token }
    }
}

impl LogitsProcessor for ForcedBosTokenLogitsProcessor {
    fn effect(&self, context: &Context<'_>) -> Effect {
        if context.tokens.len() == 1 { Effect::Rewrites } else { Effect::Nothing }
    }

    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        if self.effect(context) == Effect::Rewrites {
            force(scores, &[self.token]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::{processed, scores};
    use super::*;

    #[test]
    fn only_the_first_token_is_forced() {
        let mut processor = ForcedBosTokenLogitsProcessor::new(7);
        let before = scores(50);
        let first = Context::new(&[0], &[]);
        let after = processed(&mut processor, &first, &before);
        assert_eq!(after[7], 0.0);
        assert_eq!(after.iter().filter(|score| score.is_finite()).count(), 1);
        let second = Context::new(&[0, 7], &[]);
        assert_eq!(processed(&mut processor, &second, &before), before);
    }
}
