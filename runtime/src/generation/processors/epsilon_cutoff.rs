//! `epsilon_cutoff`.

use super::distribution::Distribution;
use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, made};

/// Creates the processor if `epsilon_cutoff` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let keep = settings.min_tokens_to_keep();
    let epsilon_cutoff = settings.parameters.epsilon_cutoff;
    made(
        epsilon_cutoff
            .filter(|value| *value > 0.0 && *value < 1.0)
            .map(|value| EpsilonLogitsWarper::new(value, keep)),
    )
}

/// Drops tokens less likely than a bound.
pub(super) struct EpsilonLogitsWarper {
    epsilon: f32,
    min_tokens_to_keep: usize,
    distribution: Distribution,
}

impl EpsilonLogitsWarper {
    pub(super) fn new(epsilon: f64, min_tokens_to_keep: usize) -> Self {
        Self { epsilon: epsilon as f32, min_tokens_to_keep, distribution: Distribution::default() }
    }
}

impl LogitsProcessor for EpsilonLogitsWarper {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, _: &Context<'_>, scores: &mut [f32]) {
        self.distribution.read(scores);
        let keep = self.distribution.score_of_rank(self.min_tokens_to_keep);
        self.distribution
            .forbid(scores, |entry| entry.probability < self.epsilon && entry.score < keep);
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::{forbidden, processed};
    use super::*;

    #[test]
    fn the_unlikely_go_but_never_too_many() {
        let context = Context::new(&[0], &[]);
        let before = [0.6_f32, 0.3, 0.1].map(f32::ln);
        let after = processed(&mut EpsilonLogitsWarper::new(0.2, 1), &context, &before);
        assert_eq!(after, [before[0], before[1], f32::NEG_INFINITY]);
        assert_eq!(forbidden(&mut EpsilonLogitsWarper::new(0.99, 3), &[0], &[]).len(), 47);
    }
}
