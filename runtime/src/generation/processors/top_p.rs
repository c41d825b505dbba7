//! `top_p`.

use std::cmp::Ordering;

use super::distribution::{CumulativeSum, Distribution, Entry};
use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, made};

/// Creates the processor if `top_p` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let keep = settings.min_tokens_to_keep();
    let top_p = settings.parameters.top_p;
    made(top_p.filter(|value| *value < 1.0).map(|value| TopPLogitsWarper::new(value, keep)))
}

/// Keeps the likeliest tokens that together reach a probability. Drops tokens from the unlikeliest
/// up, as long as their sum is within the rest.
pub(super) struct TopPLogitsWarper {
    /// Probability that may be dropped.
    rest: f32,
    min_tokens_to_keep: usize,
    distribution: Distribution,
}

impl TopPLogitsWarper {
    pub(super) fn new(top_p: f64, min_tokens_to_keep: usize) -> Self {
        Self {
            rest: (1.0 - top_p) as f32,
            min_tokens_to_keep,
            distribution: Distribution::default(),
        }
    }
}

impl LogitsProcessor for TopPLogitsWarper {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, _: &Context<'_>, scores: &mut [f32]) {
        self.distribution.read(scores);
        let entries = &mut self.distribution.entries;
        let droppable = entries.len().saturating_sub(self.min_tokens_to_keep);
        if droppable == 0 {
            return;
        }
        if droppable < entries.len() {
            entries.select_nth_unstable_by(droppable, unlikelier_first);
        }
        let dropped = dropped(&mut entries[..droppable], self.rest);
        for entry in &entries[..dropped] {
            scores[entry.token] = f32::NEG_INFINITY;
        }
    }
}

/// Moves the unlikeliest entries that together stay within `rest` to the front, and counts them.
///
/// Sorting all entries would be most of the work of a step. Halving the range needs one pass over
/// fewer entries each time.
fn dropped(entries: &mut [Entry], rest: f32) -> usize {
    const FEW: usize = 64;
    let (mut start, mut end) = (0, entries.len());
    let mut sum = CumulativeSum::new();
    while end - start > FEW {
        let middle = start + (end - start) / 2;
        entries[start..end].select_nth_unstable_by(middle - start, unlikelier_first);
        let mut half = sum.clone();
        let reached = entries[start..middle].iter().map(|entry| half.add(entry.probability)).last();
        if reached.is_some_and(|reached| reached > rest) {
            end = middle;
        } else {
            (start, sum) = (middle, half);
        }
    }
    entries[start..end].sort_unstable_by(unlikelier_first);
    let more = entries[start..end].iter().take_while(|entry| sum.add(entry.probability) <= rest);
    start + more.count()
}

/// Orders entries by ascending score; of equal ones, the lower token first, as torch sorts.
fn unlikelier_first(left: &Entry, right: &Entry) -> Ordering {
    left.score.total_cmp(&right.score).then(left.token.cmp(&right.token))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::processor::testing::processed;
    use super::*;

    proptest! {
        #[test]
        fn tokens_kept_reach_top_p(
            before in prop::collection::vec(-9.0_f32..9.0, 5..400),
            top_p in 0.0_f64..0.99,
            min in 1_usize..4,
        ) {
            let context = Context::new(&[0], &[]);
            let after = processed(&mut TopPLogitsWarper::new(top_p, min), &context, &before);
            let weight = |scores: &[f32]| {
                scores.iter().map(|score| f64::from(*score).exp()).sum::<f64>()
            };
            let kept: Vec<f32> = after.iter().copied().filter(|score| score.is_finite()).collect();
            prop_assert!(kept.len() >= min);
            prop_assert!(weight(&kept) / weight(&before) >= top_p - 1e-5);
            let least = kept.iter().copied().fold(f32::INFINITY, f32::min);
            let enough = weight(&kept) - f64::from(least).exp();
            prop_assert!(kept.len() == min || enough / weight(&before) <= top_p + 1e-5);
        }
    }
}
