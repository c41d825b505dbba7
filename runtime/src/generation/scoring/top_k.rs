//! The best candidates of several rows, found without storing all scores.

use epitome_kernels::dispatch;

use super::normalizer::Normalizer;
use super::{BLOCK, LANES};

/// A continuation: its score, and its index in all rows one after another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    /// Log-probability of the whole sequence.
    pub(crate) score: f32,
    /// `beam * vocabulary + token`.
    pub(crate) index: usize,
}

/// The best `k` candidates so far, best first; of equal scores the lower index first, as in torch's
/// stable sort.
#[derive(Debug)]
pub(crate) struct TopK {
    k: usize,
    best: Vec<Candidate>,
}

impl TopK {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, best: Vec::with_capacity(k + 1) }
    }

    pub(crate) fn clear(&mut self) {
        self.best.clear();
    }

    /// The candidates, best first.
    pub(crate) fn best(&self) -> &[Candidate] {
        &self.best
    }

    /// The score that a candidate of a higher index must exceed; `None` while there are fewer than
    /// `k`.
    #[inline(always)]
    pub(crate) fn threshold(&self) -> Option<f32> {
        if self.best.len() < self.k { None } else { self.best.last().map(|worst| worst.score) }
    }

    /// Ranks one candidate. Candidates must come in ascending order of index, without NaN.
    #[inline(always)]
    pub(crate) fn offer(&mut self, candidate: Candidate) {
        if self.threshold().is_some_and(|threshold| candidate.score <= threshold) {
            return;
        }
        let rank = self.best.partition_point(|other| other.score >= candidate.score);
        self.best.insert(rank, candidate);
        self.best.truncate(self.k);
    }

    /// Ranks a whole row. The score of candidate `base + token` is
    /// `normalizer(row[token]) + running`. Blocks that cannot exceed the threshold are skipped.
    pub(crate) fn offer_row(&mut self, row: &Row<'_>) {
        offer_row(self, row);
    }
}

/// The scores of one beam.
pub(crate) struct Row<'a> {
    /// Logits, or log-probabilities if the normalizer is the identity.
    pub(crate) scores: &'a [f32],
    /// An upper bound for each block of scores.
    pub(crate) maxima: &'a [f32],
    pub(crate) normalizer: Normalizer,
    /// Log-probability of the beam so far.
    pub(crate) running: f32,
    /// Index of the row's first candidate.
    pub(crate) base: usize,
}

#[inline(always)]
fn offer_row_body(top: &mut TopK, row: &Row<'_>) {
    let score = |logit: f32| row.normalizer.apply(logit) + row.running;
    for (number, (block, max)) in row.scores.chunks(BLOCK).zip(row.maxima).enumerate() {
        if top.threshold().is_some_and(|threshold| score(*max) <= threshold) {
            continue;
        }
        let base = row.base + number * BLOCK;
        for (number, chunk) in block.chunks(LANES).enumerate() {
            if let Some(threshold) = top.threshold() {
                let mut above = 0_u32;
                for logit in chunk {
                    above |= u32::from(score(*logit) > threshold);
                }
                if above == 0 {
                    continue;
                }
            }
            for (offset, logit) in chunk.iter().enumerate() {
                let index = base + number * LANES + offset;
                top.offer(Candidate { score: score(*logit), index });
            }
        }
    }
}

dispatch! {
    fn offer_row(top: &mut TopK, row: &Row<'_>) = offer_row_body;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::generation::scoring::normalizer::normalize;

    proptest! {
        #[test]
        fn agrees_with_sorting(
            rows in prop::collection::vec(prop::collection::vec(-40_i8..40, 700), 1..5),
            k in 1_usize..40,
        ) {
            let mut top = TopK::new(k);
            let mut expected = Vec::new();
            for (beam, row) in rows.iter().enumerate() {
                let scores: Vec<f32> = row.iter().map(|value| f32::from(*value) / 4.0).collect();
                let mut maxima = Vec::new();
                let normalizer = normalize(&scores, &mut maxima, &mut Vec::new());
                let running = -(beam as f32);
                let base = beam * scores.len();
                for (token, logit) in scores.iter().enumerate() {
                    let score = normalizer.apply(*logit) + running;
                    expected.push(Candidate { score, index: base + token });
                }
                top.offer_row(&Row { scores: &scores, maxima: &maxima, normalizer, running, base });
            }
            expected.sort_by(|left, right| right.score.total_cmp(&left.score));
            expected.truncate(k);
            prop_assert_eq!(top.best(), expected.as_slice());
        }
    }

    #[test]
    fn minus_infinity_fills_the_list() {
        let scores = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
        let mut top = TopK::new(3);
        let row = Row {
            scores: &scores,
            maxima: &[0.0],
            normalizer: Normalizer::IDENTITY,
            running: 0.0,
            base: 0,
        };
        top.offer_row(&row);
        let order: Vec<usize> = top.best().iter().map(|candidate| candidate.index).collect();
        assert_eq!(order, [1, 0, 2]);
    }
}
