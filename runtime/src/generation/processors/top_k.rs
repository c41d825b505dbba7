//! `top_k`.

use super::distribution::Distribution;
use super::{Context, Effect, LogitsProcessor};

/// Keeps the likeliest tokens, and those that score as the last of them.
pub(super) struct TopKLogitsWarper {
    top_k: usize,
    distribution: Distribution,
}

impl TopKLogitsWarper {
    pub(super) fn new(top_k: usize, min_tokens_to_keep: usize) -> Self {
        Self {
            top_k: top_k.max(min_tokens_to_keep),
            distribution: Distribution::default(),
        }
    }
}

impl LogitsProcessor for TopKLogitsWarper {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, _: &Context<'_>, scores: &mut [f32]) {
        self.distribution.read(scores);
        let least = self.distribution.score_of_rank(self.top_k);
        self.distribution
            .forbid(scores, |entry| entry.score < least);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::forbidden;
    use super::*;

    #[test]
    fn as_many_stay() {
        for (top_k, min, stay) in [(1, 1, 1), (1, 3, 3), (7, 1, 7), (1000, 1, 50)] {
            let mut warper = TopKLogitsWarper::new(top_k, min);
            assert_eq!(50 - forbidden(&mut warper, &[0], &[]).len(), stay);
        }
    }
}
