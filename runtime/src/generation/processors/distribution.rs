//! The probabilities of a row, for the warpers that filter by them.

use std::cmp::Ordering;

use epitome_kernels::simd::exp::exp;

use crate::generation::scoring::normalizer::{Normalizer, normalize};

/// A token that is not forbidden.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Entry {
    pub(super) token: usize,
    pub(super) score: f32,
    pub(super) probability: f32,
}

/// The tokens of a row that are not forbidden, with the softmax of their scores. Its buffers are
/// used for all rows.
#[derive(Debug, Default)]
pub(super) struct Distribution {
    pub(super) entries: Vec<Entry>,
    pub(super) normalizer: Option<Normalizer>,
    maxima: Vec<f32>,
    sums: Vec<f32>,
    values: Vec<f32>,
}

impl Distribution {
    /// Reads a row. Leaves no entries if the row has no softmax; the search reports that when it
    /// draws.
    pub(super) fn read(&mut self, scores: &[f32]) {
        self.entries.clear();
        let normalizer = normalize(scores, &mut self.maxima, &mut self.sums);
        self.normalizer = normalizer.is_valid().then_some(normalizer);
        if !normalizer.is_valid() {
            return;
        }
        let total = exp(normalizer.log_sum);
        let possible = scores.iter().enumerate().filter(|(_, score)| **score > f32::NEG_INFINITY);
        self.entries.extend(possible.map(|(token, score)| Entry {
            token,
            score: *score,
            probability: exp(*score - normalizer.max) / total,
        }));
    }

    /// Log-probability of an entry.
    pub(super) fn log_probability(&self, entry: &Entry) -> f32 {
        self.normalizer.map_or(f32::NEG_INFINITY, |normalizer| normalizer.apply(entry.score))
    }

    /// Entropy in nats.
    pub(super) fn entropy(&self) -> f32 {
        let terms = self
            .entries
            .iter()
            .map(|entry| f64::from(self.log_probability(entry)) * f64::from(entry.probability));
        -terms.sum::<f64>() as f32
    }

    /// The score that at least `count` tokens reach; minus infinity if there are fewer tokens.
    pub(super) fn score_of_rank(&mut self, count: usize) -> f32 {
        if count == 0 || count > self.entries.len() {
            return f32::NEG_INFINITY;
        }
        self.values.clear();
        self.values.extend(self.entries.iter().map(|entry| entry.score));
        *self.values.select_nth_unstable_by(count - 1, |left, right| right.total_cmp(left)).1
    }

    /// Forbids the entries for which `remove` returns true.
    pub(super) fn forbid(&self, scores: &mut [f32], remove: impl Fn(&Entry) -> bool) {
        for entry in self.entries.iter().filter(|entry| remove(entry)) {
            scores[entry.token] = f32::NEG_INFINITY;
        }
    }
}

/// Orders entries by descending score; of equal ones, the lower token first.
pub(super) fn likelier_first(left: &Entry, right: &Entry) -> Ordering {
    right.score.total_cmp(&left.score).then(left.token.cmp(&right.token))
}

/// A cumulative sum as torch's `cumsum` on a CPU: in double precision, each sum rounded to single.
#[derive(Debug, Clone)]
pub(super) struct CumulativeSum(f64);

impl CumulativeSum {
    pub(super) fn new() -> Self {
        Self(0.0)
    }

    pub(super) fn add(&mut self, value: f32) -> f32 {
        self.0 += f64::from(value);
        self.0 as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_tokens_are_left_out() {
        let mut distribution = Distribution::default();
        distribution.read(&[0.0, f32::NEG_INFINITY, 0.0, 0.0, 0.0]);
        assert_eq!(distribution.entries.len(), 4);
        assert!((distribution.entries[1].probability - 0.25).abs() < 1e-6);
        assert!((distribution.entropy() - 4.0_f32.ln()).abs() < 1e-6);
        assert_eq!(distribution.score_of_rank(4), 0.0);
        assert_eq!(distribution.score_of_rank(5), f32::NEG_INFINITY);
    }

    #[test]
    fn a_row_without_a_softmax_has_no_entries() {
        let mut distribution = Distribution::default();
        distribution.read(&[f32::NAN, 0.0]);
        assert!(distribution.entries.is_empty());
        distribution.read(&[f32::NEG_INFINITY; 3]);
        assert!(distribution.entries.is_empty());
    }
}
