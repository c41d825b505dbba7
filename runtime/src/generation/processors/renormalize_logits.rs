//! `renormalize_logits`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, made};
use crate::generation::scoring::normalizer::{materialize, normalize};

/// Creates the processor if `renormalize_logits` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let is_set = settings.parameters.renormalize_logits == Some(true);
    made(is_set.then(LogitNormalization::default))
}

/// Normalizes the scores to log-probabilities after all other processors.
#[derive(Default)]
pub(super) struct LogitNormalization {
    maxima: Vec<f32>,
    sums: Vec<f32>,
}

impl LogitsProcessor for LogitNormalization {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, _: &Context<'_>, scores: &mut [f32]) {
        let normalizer = normalize(scores, &mut self.maxima, &mut self.sums);
        materialize(scores, normalizer);
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::{processed, scores};
    use super::*;

    #[test]
    fn probabilities_sum_to_one() {
        let context = Context::new(&[0], &[]);
        let mut processor = LogitNormalization::default();
        let after = processed(&mut processor, &context, &scores(50));
        let sum: f64 = after.iter().map(|score| f64::from(*score).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
    }
}
