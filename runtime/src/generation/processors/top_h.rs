//! `top_h`.

use super::distribution::{CumulativeSum, Distribution, likelier_first};
use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, made};

/// Creates the processor if `top_h` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    made(settings.parameters.top_h.map(TopHLogitsWarper::new))
}

/// Maximum number of candidates.
const MAX_CANDIDATES: usize = 100;

/// Keeps the likeliest tokens whose entropy terms sum up to at most a share of the entropy.
pub(super) struct TopHLogitsWarper {
    top_h: f32,
    distribution: Distribution,
    /// Softmax over the candidates only.
    candidates: Distribution,
    scores: Vec<f32>,
}

impl TopHLogitsWarper {
    pub(super) fn new(top_h: f64) -> Self {
        Self {
            top_h: top_h as f32,
            distribution: Distribution::default(),
            candidates: Distribution::default(),
            scores: Vec::new(),
        }
    }
}

impl LogitsProcessor for TopHLogitsWarper {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, _: &Context<'_>, scores: &mut [f32]) {
        self.distribution.read(scores);
        let entries = &mut self.distribution.entries;
        if entries.len() > MAX_CANDIDATES {
            entries.select_nth_unstable_by(MAX_CANDIDATES - 1, likelier_first);
        }
        let split = entries.len().min(MAX_CANDIDATES);
        entries[..split].sort_unstable_by(likelier_first);

        self.scores.clear();
        self.scores.extend(entries[..split].iter().map(|entry| entry.score));
        self.candidates.read(&self.scores);
        let limit = self.candidates.entropy() * self.top_h;
        let mut sum = CumulativeSum::new();
        let kept = self
            .candidates
            .entries
            .iter()
            .take_while(|entry| {
                // A probability that underflowed has no entropy term, and ends the list, as in
                // transformers.
                sum.add(-entry.probability * entry.probability.ln()) <= limit
            })
            .count()
            .max(1);
        for entry in self.distribution.entries.iter().skip(kept) {
            scores[entry.token] = f32::NEG_INFINITY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::{processed, scores};
    use super::*;

    #[test]
    fn the_likeliest_always_stays_and_more_stay_for_a_greater_share() {
        let context = Context::new(&[0], &[]);
        let before = scores(200);
        let kept = |top_h| {
            let after = processed(&mut TopHLogitsWarper::new(top_h), &context, &before);
            after.iter().filter(|score| score.is_finite()).count()
        };
        assert_eq!(kept(1e-6), 1);
        assert!(kept(0.3) <= kept(0.6) && kept(0.6) <= kept(1.0) && kept(1.0) <= 100);
    }
}
