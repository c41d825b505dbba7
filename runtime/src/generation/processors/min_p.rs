//! `min_p`.

use super::distribution::Distribution;
use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, made};

/// Creates the processor if `min_p` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let keep = settings.min_tokens_to_keep();
    let min_p = settings.parameters.min_p;
    made(min_p.map(|min_p| MinPLogitsWarper::new(min_p, keep)))
}

/// Drops tokens whose probability is below a share of the greatest probability.
pub(super) struct MinPLogitsWarper {
    min_p: f32,
    min_tokens_to_keep: usize,
    distribution: Distribution,
}

impl MinPLogitsWarper {
    pub(super) fn new(min_p: f64, min_tokens_to_keep: usize) -> Self {
        Self { min_p: min_p as f32, min_tokens_to_keep, distribution: Distribution::default() }
    }
}

impl LogitsProcessor for MinPLogitsWarper {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, _: &Context<'_>, scores: &mut [f32]) {
        self.distribution.read(scores);
        let entries = &self.distribution.entries;
        let most = entries.iter().map(|entry| entry.probability).fold(0.0, f32::max);
        let least = self.min_p * most;
        let keep = self.distribution.score_of_rank(self.min_tokens_to_keep);
        self.distribution.forbid(scores, |entry| entry.probability < least && entry.score < keep);
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::forbidden;
    use super::*;

    #[test]
    fn the_unlikely_go_but_never_too_many() {
        assert_eq!(forbidden(&mut MinPLogitsWarper::new(1.0, 1), &[0], &[]).len(), 49);
        assert_eq!(forbidden(&mut MinPLogitsWarper::new(1.0, 4), &[0], &[]).len(), 46);
        assert_eq!(forbidden(&mut MinPLogitsWarper::new(0.0, 1), &[0], &[]).len(), 0);
    }
}
