//! `top_k`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, above_zero, made};
use crate::generation::parameters::DEFAULT_TOP_K;
use crate::generation::scoring::normalizer::{Normalizer, block_maxima, forbid_below};
use crate::generation::scoring::top_k::{Row, TopK};

/// Creates the processor if `top_k` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let keep = settings.min_tokens_to_keep();
    let top_k = settings.parameters.top_k.unwrap_or(DEFAULT_TOP_K);
    made(above_zero(Some(top_k)).map(|top_k| TopKLogitsWarper::new(top_k, keep)))
}

/// Up to this many tokens are kept in order; for more, selecting from a copy of the row is faster.
const FEW: usize = 256;

/// Keeps the likeliest tokens, and all tokens with the same score as the last of them.
pub(super) struct TopKLogitsWarper {
    top_k: usize,
    few: TopK,
    maxima: Vec<f32>,
    copy: Vec<f32>,
}

impl TopKLogitsWarper {
    pub(super) fn new(top_k: usize, min_tokens_to_keep: usize) -> Self {
        let top_k = top_k.max(min_tokens_to_keep);
        Self { top_k, few: TopK::new(top_k.min(FEW)), maxima: Vec::new(), copy: Vec::new() }
    }

    /// The score of the last token kept.
    fn min_score(&mut self, scores: &[f32]) -> Option<f32> {
        if self.top_k > FEW {
            self.copy.clear();
            self.copy.extend_from_slice(scores);
            let descending = |left: &f32, right: &f32| right.total_cmp(left);
            return Some(*self.copy.select_nth_unstable_by(self.top_k - 1, descending).1);
        }
        self.few.clear();
        self.few.offer_row(&Row {
            scores,
            maxima: &self.maxima,
            normalizer: Normalizer::IDENTITY,
            running: 0.0,
            base: 0,
        });
        self.few.best().last().map(|candidate| candidate.score)
    }
}

impl LogitsProcessor for TopKLogitsWarper {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, _: &Context<'_>, scores: &mut [f32]) {
        // A row with NaN has no order; the search reports that when it draws.
        if self.top_k >= scores.len() || block_maxima(scores, &mut self.maxima) {
            return;
        }
        if let Some(min_score) = self.min_score(scores) {
            forbid_below(scores, min_score);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::{forbidden, processed};
    use super::*;

    #[test]
    fn as_many_stay() {
        for (top_k, min, stay) in [(1, 1, 1), (1, 3, 3), (7, 1, 7), (1000, 1, 50)] {
            let mut warper = TopKLogitsWarper::new(top_k, min);
            assert_eq!(50 - forbidden(&mut warper, &[0], &[]).len(), stay);
        }
    }

    #[test]
    fn many_stay_as_few_do() {
        let context = Context::new(&[0], &[]);
        let before: Vec<f32> = (0..2000).map(|token| ((token * 997) % 2003) as f32).collect();
        for top_k in [FEW - 1, FEW, FEW + 1, 1999] {
            let after = processed(&mut TopKLogitsWarper::new(top_k, 1), &context, &before);
            assert_eq!(after.iter().filter(|score| score.is_finite()).count(), top_k);
        }
    }
}
