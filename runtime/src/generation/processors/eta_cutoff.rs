//! `eta_cutoff`.

use super::distribution::Distribution;
use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, made};

/// Creates the processor if `eta_cutoff` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let keep = settings.min_tokens_to_keep();
    let eta_cutoff = settings.parameters.eta_cutoff;
    made(
        eta_cutoff
            .filter(|value| *value > 0.0 && *value < 1.0)
            .map(|value| EtaLogitsWarper::new(value, keep)),
    )
}

/// Drops tokens less likely than a bound that falls as the entropy grows.
pub(super) struct EtaLogitsWarper {
    epsilon: f32,
    min_tokens_to_keep: usize,
    distribution: Distribution,
}

impl EtaLogitsWarper {
    pub(super) fn new(epsilon: f64, min_tokens_to_keep: usize) -> Self {
        Self { epsilon: epsilon as f32, min_tokens_to_keep, distribution: Distribution::default() }
    }
}

impl LogitsProcessor for EtaLogitsWarper {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, _: &Context<'_>, scores: &mut [f32]) {
        self.distribution.read(scores);
        let entropy = self.distribution.entropy();
        let eta = self.epsilon.min(self.epsilon.sqrt() * (-entropy).exp());
        let keep = self.distribution.score_of_rank(self.min_tokens_to_keep);
        self.distribution.forbid(scores, |entry| entry.probability < eta && entry.score < keep);
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::processed;
    use super::*;

    #[test]
    fn the_bound_falls_with_the_entropy() {
        let context = Context::new(&[0], &[]);
        let mut warper = EtaLogitsWarper::new(0.3, 1);
        let peaked = [0.8_f32, 0.15, 0.05].map(f32::ln);
        let after = processed(&mut warper, &context, &peaked);
        assert_eq!(after.iter().filter(|score| score.is_finite()).count(), 1);
        let even = [0.1_f32; 10].map(f32::ln);
        assert_eq!(processed(&mut warper, &context, &even), even);
    }
}
