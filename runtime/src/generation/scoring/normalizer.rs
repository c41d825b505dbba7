//! Log-softmax of a row and the maximum of each block, in one pass over memory.

use epitome_kernels::dispatch;
use epitome_kernels::simd::exp::exp;

use super::{BLOCK, LANES};

/// Converts a row of logits to log-probabilities: `(logit - max) - log_sum`, in this order, as
/// torch computes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Normalizer {
    /// Greatest logit.
    pub(crate) max: f32,
    /// Logarithm of the sum of all `exp(logit - max)`.
    pub(crate) log_sum: f32,
}

impl Normalizer {
    /// Leaves every score unchanged, for rows of log-probabilities.
    pub(crate) const IDENTITY: Self = Self { max: 0.0, log_sum: 0.0 };

    /// Log-probability of a logit.
    #[inline(always)]
    pub(crate) fn apply(self, logit: f32) -> f32 {
        (logit - self.max) - self.log_sum
    }

    /// Whether the row has log-probabilities. It has none if it holds NaN or plus infinity, or only
    /// minus infinity.
    pub(crate) fn is_valid(self) -> bool {
        self.max.is_finite() && self.log_sum.is_finite()
    }
}

#[inline(always)]
fn max_of(block: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = block.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = if *value > *lane { *value } else { *lane };
    }
    lanes.iter().fold(f32::NEG_INFINITY, |max, lane| if *lane > max { *lane } else { max })
}

#[inline(always)]
fn sum_exp_of(block: &[f32], max: f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = block.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += exp(*value - max);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += exp(*value - max);
    }
    // Adding by halves keeps the order fixed and the error small.
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn normalize_body(row: &[f32], maxima: &mut Vec<f32>, sums: &mut Vec<f32>) -> Normalizer {
    maxima.clear();
    sums.clear();
    for block in row.chunks(BLOCK) {
        let max = max_of(block);
        // A block of minus infinities has the sum 0, but NaN in it must be found.
        let sum = if max == f32::NEG_INFINITY {
            if block.iter().any(|value| value.is_nan()) { f32::NAN } else { 0.0 }
        } else {
            sum_exp_of(block, max)
        };
        maxima.push(max);
        sums.push(sum);
    }
    let max = max_of(maxima);
    let mut total = 0.0_f64;
    for (block_max, sum) in maxima.iter().zip(&*sums) {
        if *block_max == max {
            total += f64::from(*sum);
        } else if *sum != 0.0 {
            total += f64::from(*sum) * f64::from(exp(*block_max - max));
        }
    }
    Normalizer { max, log_sum: total.ln() as f32 }
}

dispatch! {
    /// The normalizer of a row of logits. Puts maximum and sum of each block into `maxima` and
    /// `sums`.
    ///
    /// Minus infinity is a probability of 0. The result [is not valid](Normalizer::is_valid) if
    /// torch's log-softmax would give NaN.
    pub(crate) fn normalize(row: &[f32], maxima: &mut Vec<f32>, sums: &mut Vec<f32>) -> Normalizer
        = normalize_body;
}

#[inline(always)]
fn materialize_body(row: &mut [f32], normalizer: Normalizer) {
    for value in row {
        *value = normalizer.apply(*value);
    }
}

dispatch! {
    /// Replaces logits by log-probabilities.
    pub(crate) fn materialize(row: &mut [f32], normalizer: Normalizer) = materialize_body;
}

#[inline(always)]
fn block_maxima_body(row: &[f32], maxima: &mut Vec<f32>) -> bool {
    maxima.clear();
    let mut nan = false;
    for block in row.chunks(BLOCK) {
        maxima.push(max_of(block));
        let mut lanes = [0_u32; LANES];
        let (chunks, rest) = block.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane |= u32::from(value.is_nan());
            }
        }
        nan |= lanes.iter().any(|lane| *lane != 0) || rest.iter().any(|value| value.is_nan());
    }
    nan
}

dispatch! {
    /// Puts the maximum of each block into `maxima`. Returns whether the row holds NaN.
    pub(crate) fn block_maxima(row: &[f32], maxima: &mut Vec<f32>) -> bool = block_maxima_body;
}

#[inline(always)]
fn forbid_below_body(row: &mut [f32], min: f32) {
    for value in row {
        *value = if *value < min { f32::NEG_INFINITY } else { *value };
    }
}

dispatch! {
    /// Sets every score below `min` to minus infinity.
    pub(crate) fn forbid_below(row: &mut [f32], min: f32) = forbid_below_body;
}

/// Index of the greatest score, the first of equal ones; `None` if the row holds NaN.
pub(crate) fn argmax(row: &[f32], maxima: &mut Vec<f32>) -> Option<usize> {
    if block_maxima(row, maxima) {
        return None;
    }
    let max = max_of(maxima);
    let block = maxima.iter().position(|block| *block == max)?;
    let start = block * BLOCK;
    row[start..].iter().position(|value| *value == max).map(|offset| start + offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference(row: &[f32]) -> Vec<f64> {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|x| (f64::from(*x) - f64::from(max)).exp()).sum();
        row.iter().map(|x| f64::from(*x) - f64::from(max) - sum.ln()).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_double_precision(row in prop::collection::vec(-60.0_f32..60.0, 1..1500)) {
            let normalizer = normalize(&row, &mut Vec::new(), &mut Vec::new());
            for (value, expected) in row.iter().zip(reference(&row)) {
                prop_assert!((f64::from(normalizer.apply(*value)) - expected).abs() < 2e-5);
            }
        }

        #[test]
        fn every_instruction_set_gives_the_same_bits(
            row in prop::collection::vec(-60.0_f32..60.0, 1..1500),
        ) {
            let (mut left, mut right) = (Vec::new(), Vec::new());
            let dispatched = normalize(&row, &mut left, &mut Vec::new());
            let portable = normalize_body(&row, &mut right, &mut Vec::new());
            prop_assert_eq!(dispatched, portable);
            prop_assert_eq!(left, right);
        }

        #[test]
        fn argmax_is_the_first_of_the_greatest(row in prop::collection::vec(-3_i8..3, 1..1500)) {
            let row: Vec<f32> = row.into_iter().map(f32::from).collect();
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let expected = row.iter().position(|value| *value == max);
            prop_assert_eq!(argmax(&row, &mut Vec::new()), expected);
        }
    }

    #[test]
    fn rows_without_log_probabilities_are_not_valid() {
        let valid = |row: &[f32]| normalize(row, &mut Vec::new(), &mut Vec::new()).is_valid();
        let mut row = vec![0.0; 600];
        assert!(valid(&row));
        row[300..].fill(f32::NEG_INFINITY);
        assert!(valid(&row));
        row[599] = f32::NAN;
        assert!(!valid(&row));
        row[599] = f32::INFINITY;
        assert!(!valid(&row));
        row.fill(f32::NEG_INFINITY);
        assert!(!valid(&row));
        row[0] = f32::NAN;
        assert!(!valid(&row) && argmax(&row, &mut Vec::new()).is_none());
    }
}
