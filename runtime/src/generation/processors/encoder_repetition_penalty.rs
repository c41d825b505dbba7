//! `encoder_repetition_penalty`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, made};
use super::repetition_penalty::Penalty;

/// Creates the processor if `encoder_repetition_penalty` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let penalty = settings.parameters.encoder_repetition_penalty;
    made(
        penalty.filter(|penalty| *penalty != 1.0).map(EncoderRepetitionPenaltyLogitsProcessor::new),
    )
}

/// Favours the tokens of the source if the penalty is above 1, and avoids them if it is below.
pub(super) struct EncoderRepetitionPenaltyLogitsProcessor {
    penalty: Penalty,
}

impl EncoderRepetitionPenaltyLogitsProcessor {
    pub(super) fn new(penalty: f64) -> Self {
        Self { penalty: Penalty::new(1.0 / penalty) }
    }
}

impl LogitsProcessor for EncoderRepetitionPenaltyLogitsProcessor {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        self.penalty.apply(context.source, scores);
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::{processed, scores};
    use super::*;

    #[test]
    fn tokens_of_the_source_are_favoured_once_each() {
        let before = scores(50);
        let context = Context::new(&[0], &[3, 4, 3]);
        let mut processor = EncoderRepetitionPenaltyLogitsProcessor::new(2.0);
        let after = processed(&mut processor, &context, &before);
        for (token, (before, after)) in before.iter().zip(&after).enumerate() {
            let favoured = if *before < 0.0 { before * 0.5 } else { before / 0.5 };
            assert_eq!(*after, if token == 3 || token == 4 { favoured } else { *before });
        }
    }
}
