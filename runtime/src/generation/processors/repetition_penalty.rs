//! `repetition_penalty`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, made};

/// Creates the processor if `repetition_penalty` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let penalty = settings.parameters.repetition_penalty;
    made(penalty.filter(|penalty| *penalty != 1.0).map(RepetitionPenaltyLogitsProcessor::new))
}

/// Makes the tokens of the history less likely if the penalty is above 1, and likelier if it is
/// below.
pub(super) struct RepetitionPenaltyLogitsProcessor {
    penalty: Penalty,
}

impl RepetitionPenaltyLogitsProcessor {
    pub(super) fn new(penalty: f64) -> Self {
        Self { penalty: Penalty::new(penalty) }
    }
}

impl LogitsProcessor for RepetitionPenaltyLogitsProcessor {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        self.penalty.apply(context.tokens, scores);
    }
}

/// Multiplies scores below 0 by the penalty and divides the others by it, once for each listed
/// token.
pub(super) struct Penalty {
    factor: f32,
    /// Buffer for penalized scores: a token that is listed twice is penalized once.
    penalized: Vec<f32>,
}

impl Penalty {
    pub(super) fn new(factor: f64) -> Self {
        Self { factor: factor as f32, penalized: Vec::new() }
    }

    /// Penalizes `tokens`. Ignores tokens outside the vocabulary, which a source may contain.
    pub(super) fn apply(&mut self, tokens: &[u32], scores: &mut [f32]) {
        self.penalized.clear();
        self.penalized.extend(tokens.iter().map(|token| {
            let score = scores.get(*token as usize).copied().unwrap_or(0.0);
            if score < 0.0 { score * self.factor } else { score / self.factor }
        }));
        for (token, penalized) in tokens.iter().zip(&self.penalized) {
            if let Some(score) = scores.get_mut(*token as usize) {
                *score = *penalized;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::processor::testing::{processed, scores};
    use super::*;

    proptest! {
        #[test]
        fn a_penalty_above_one_never_raises_a_score(
            tokens in prop::collection::vec(0_u32..60, 1..40), penalty in 1.0_f64..5.0,
        ) {
            let before = scores(50);
            let context = Context::new(&tokens, &[]);
            let mut processor = RepetitionPenaltyLogitsProcessor::new(penalty);
            let after = processed(&mut processor, &context, &before);
            for (token, (before, after)) in before.iter().zip(&after).enumerate() {
                prop_assert!(after <= before);
                prop_assert!(tokens.contains(&(token as u32)) || after == before);
            }
        }
    }
}
