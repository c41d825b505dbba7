//! `typical_p`.

use super::distribution::{CumulativeSum, Distribution};
use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, made};

/// Creates the processor if `typical_p` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let keep = settings.min_tokens_to_keep();
    let typical_p = settings.parameters.typical_p;
    made(typical_p.filter(|value| *value < 1.0).map(|value| TypicalLogitsWarper::new(value, keep)))
}

/// Keeps the tokens whose information is nearest to the entropy, up to a probability.
pub(super) struct TypicalLogitsWarper {
    mass: f32,
    min_tokens_to_keep: usize,
    distribution: Distribution,
    /// (distance of the information from the entropy, token, probability).
    sorted: Vec<(f32, usize, f32)>,
}

impl TypicalLogitsWarper {
    pub(super) fn new(mass: f64, min_tokens_to_keep: usize) -> Self {
        Self {
            mass: mass as f32,
            min_tokens_to_keep,
            distribution: Distribution::default(),
            sorted: Vec::new(),
        }
    }
}

impl LogitsProcessor for TypicalLogitsWarper {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, _: &Context<'_>, scores: &mut [f32]) {
        self.distribution.read(scores);
        let distribution = &self.distribution;
        let entropy = distribution.entropy();
        self.sorted.clear();
        self.sorted.extend(distribution.entries.iter().map(|entry| {
            let distance = (-distribution.log_probability(entry) - entropy).abs();
            (distance, entry.token, entry.probability)
        }));
        self.sorted
            .sort_unstable_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
        let mut sum = CumulativeSum::new();
        let reached = self.sorted.iter().take_while(|entry| sum.add(entry.2) < self.mass).count();
        // The token that reaches the probability stays, and so do all with the same distance.
        let Some(last) = self.sorted.get(reached).or(self.sorted.last()) else {
            return;
        };
        let farthest = last.0;
        for (distance, token, _) in self.sorted.iter().skip(self.min_tokens_to_keep) {
            if *distance > farthest {
                scores[*token] = f32::NEG_INFINITY;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::processed;
    use super::*;

    #[test]
    fn the_most_typical_stay() {
        let context = Context::new(&[0], &[]);
        let before = [0.6_f32, 0.2, 0.1, 0.06, 0.04].map(f32::ln);
        let kept = |mass, min| -> Vec<usize> {
            let after = processed(&mut TypicalLogitsWarper::new(mass, min), &context, &before);
            (0..5).filter(|token| after[*token].is_finite()).collect()
        };
        // The entropy is 1.16; nearest to it are 0.2 (1.61), 0.6 (0.51), then 0.1 (2.3).
        assert_eq!(kept(0.1, 1), [1]);
        assert_eq!(kept(0.7, 1), [0, 1]);
        assert_eq!(kept(0.1, 3), [0, 1, 2]);
    }
}
