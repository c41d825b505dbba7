//! `remove_invalid_values`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, made};

/// Creates the processor if `remove_invalid_values` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let is_set = settings.parameters.remove_invalid_values == Some(true);
    made(is_set.then_some(InfNanRemoveLogitsProcessor))
}

/// Replaces NaN by 0, and the infinities by the greatest and the smallest finite number.
pub(super) struct InfNanRemoveLogitsProcessor;

impl LogitsProcessor for InfNanRemoveLogitsProcessor {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, _: &Context<'_>, scores: &mut [f32]) {
        for score in scores {
            *score = if score.is_nan() { 0.0 } else { score.clamp(f32::MIN, f32::MAX) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::processed;
    use super::*;

    #[test]
    fn what_is_left_is_finite() {
        let before = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.5];
        let context = Context::new(&[0], &[]);
        let after = processed(&mut InfNanRemoveLogitsProcessor, &context, &before);
        assert_eq!(after, [0.0, f32::MAX, f32::MIN, 1.5]);
        assert_eq!(after, processed(&mut InfNanRemoveLogitsProcessor, &context, &after));
    }
}
