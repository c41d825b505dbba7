//! `exponential_decay_length_penalty`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, made};
use crate::generation::error::ParameterError;
use crate::generation::parameters::ExponentialDecay;

/// Creates the processor if `exponential_decay_length_penalty` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let Some(decay) = settings.parameters.exponential_decay_length_penalty else {
        return Ok(None);
    };
    let wrong = |reason: String| ParameterError::Contradiction {
        name: "exponential_decay_length_penalty",
        value: format!("[{}, {}]", decay.start, decay.factor),
        reason,
    };
    let eos = &settings.tokens.eos;
    if eos.is_empty() {
        return Err(wrong("the model has no `eos_token_id` to favour".to_owned()));
    }
    let max_length = settings.lengths.max_length;
    let power = i32::try_from(max_length).unwrap_or(i32::MAX);
    if !(decay.factor.powi(power) as f32).is_finite() {
        return Err(wrong(format!("its power overflows within {max_length} tokens")));
    }
    let prompt_length = settings.lengths.prompt.len();
    made(Some(ExponentialDecayLengthPenalty::new(decay, eos, prompt_length)))
}

/// Raises the scores of the end tokens exponentially, from a length on.
pub(super) struct ExponentialDecayLengthPenalty {
    /// Length, including the prompt, up to which scores do not change.
    start: usize,
    factor: f64,
    eos: Vec<u32>,
}

impl ExponentialDecayLengthPenalty {
    pub(super) fn new(decay: ExponentialDecay, eos: &[u32], prompt_length: usize) -> Self {
        let mut unique = eos.to_vec();
        unique.sort_unstable();
        unique.dedup();
        Self { start: decay.start.saturating_add(prompt_length), factor: decay.factor, eos: unique }
    }
}

impl LogitsProcessor for ExponentialDecayLengthPenalty {
    fn effect(&self, context: &Context<'_>) -> Effect {
        if context.tokens.len() > self.start { Effect::Rewrites } else { Effect::Nothing }
    }

    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        let Some(since @ 1..) = context.tokens.len().checked_sub(self.start) else {
            return;
        };
        let growth = (self.factor.powf(since as f64) - 1.0) as f32;
        for token in &self.eos {
            let score = &mut scores[*token as usize];
            // A forbidden end token stays forbidden.
            if score.is_finite() {
                *score += score.abs() * growth;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::{processed, scores};
    use super::*;

    #[test]
    fn the_end_gains_weight_after_the_start() {
        let decay = ExponentialDecay { start: 1, factor: 1.5 };
        let mut processor = ExponentialDecayLengthPenalty::new(decay, &[2], 1);
        let before = scores(50);
        let at = |processor: &mut ExponentialDecayLengthPenalty, tokens: &[u32]| {
            processed(processor, &Context::new(tokens, &[]), &before)
        };
        assert_eq!(at(&mut processor, &[0, 4]), before);
        let after = at(&mut processor, &[0, 4, 5, 6]);
        assert_eq!(after[2], before[2] + before[2].abs() * (1.5_f32 * 1.5 - 1.0));
        assert_eq!(after[3..], before[3..]);
    }

    #[test]
    fn a_forbidden_end_stays_forbidden() {
        let decay = ExponentialDecay { start: 0, factor: 1.5 };
        let mut processor = ExponentialDecayLengthPenalty::new(decay, &[0], 1);
        let context = Context::new(&[0, 4], &[]);
        let after = processed(&mut processor, &context, &[f32::NEG_INFINITY, 0.0]);
        assert_eq!(after, [f32::NEG_INFINITY, 0.0]);
    }
}
