//! The integers of a block, and the values that they represent.
//!
//! Rounding between the minimum and maximum of a block would waste steps on outliers. Narrower
//! ranges are tried as well. Each is refined to the scale and minimum that fit its integers best
//! (least squares). The range with the smallest squared error is used.

use epitome_kernels::int4::{BLOCK, BLOCK_BYTES, MAX_INTEGER, MINIMA, position};
use epitome_kernels::simd::ROUND;
use half::f16;

use crate::inverse;

/// Fractions of a block's range that are tried. More fractions take longer and reduce the error by
/// less than a hundredth.
const SHARES: [f32; 2] = [1.0, 0.9];
/// Number of refinements of each fraction.
const REFINEMENTS: usize = 2;

/// A block of an output's weights, rounded: `weight = scale * integer + min`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounded {
    pub(super) grid: Grid,
    pub(super) integers: [u8; BLOCK],
    /// Number of weights, which is less than [`BLOCK`] at the end of a row.
    pub(super) count: usize,
}

impl Rounded {
    /// Rounds up to [`BLOCK`] weights to nearest, with the best range that is found.
    pub(super) fn of(weights: &[f32]) -> Self {
        let fold = |start, pick: fn(f32, f32) -> f32| weights.iter().copied().fold(start, pick);
        let (low, high) = (fold(f32::INFINITY, f32::min), fold(f32::NEG_INFINITY, f32::max));
        // Pads with the first weight, which does not change the range.
        let mut padded = [weights[0]; BLOCK];
        padded[..weights.len()].copy_from_slice(weights);
        let (middle, half) = (low / 2.0 + high / 2.0, high / 2.0 - low / 2.0);
        let mut best = (f32::INFINITY, Grid::new(0.0, middle));
        for share in SHARES {
            let mut grid =
                Grid::new(2.0 * share * half / f32::from(MAX_INTEGER), middle - share * half);
            for refinement in 0..=REFINEMENTS {
                let integers = grid.integers(&padded);
                let error = grid.error(&padded, &integers);
                if error < best.0 {
                    best = (error, grid);
                }
                if refinement < REFINEMENTS {
                    grid = grid.refined(&padded, &integers);
                }
            }
        }
        let (_, grid) = best;
        Self::new(grid, &grid.integers(&padded), weights.len())
    }

    /// A block of `integers`, of which the first `count` are weights.
    pub(super) fn new(grid: Grid, integers: &[f32; BLOCK], count: usize) -> Self {
        Self { grid, integers: integers.map(|integer| integer as u8), count }
    }

    /// The rounded weights, padded with zeros.
    #[inline(always)]
    pub(super) fn padded_values(&self) -> [f32; BLOCK] {
        let (scale, min) = (self.grid.scale.to_f32(), self.grid.min.to_f32());
        std::array::from_fn(|at| match at < self.count {
            true => f32::from(self.integers[at]) * scale + min,
            false => 0.0,
        })
    }

    /// The rounded weights.
    pub(super) fn values(&self) -> impl Iterator<Item = f32> {
        self.padded_values().into_iter().take(self.count)
    }

    /// Writes the block as the weights of `output`.
    pub(super) fn store(&self, output: usize, block: &mut [u8; BLOCK_BYTES]) {
        block[2 * output..][..2].copy_from_slice(&self.grid.scale.to_le_bytes());
        block[MINIMA + 2 * output..][..2].copy_from_slice(&self.grid.min.to_le_bytes());
        for (input, integer) in self.integers[..self.count].iter().enumerate() {
            let (byte, shift) = position(output, input);
            block[byte] |= integer << shift;
        }
    }
}

/// Scale and minimum of a block, in float16 as they are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) scale: f16,
    pub(super) min: f16,
}

impl Grid {
    fn new(scale: f32, min: f32) -> Self {
        Self { scale: f16::from_f32(scale), min: f16::from_f32(min) }
    }

    /// A grid, or `None` if float16 cannot hold scale or minimum.
    pub(super) fn finite(scale: f32, min: f32) -> Option<Self> {
        let grid = Self::new(scale, min);
        (grid.scale >= f16::ZERO && grid.scale.is_finite() && grid.min.is_finite()).then_some(grid)
    }

    /// Inverse of the scale: distances from the minimum times it are rounded to integers. It is 0
    /// if all weights are nearly equal.
    pub(super) fn inverse(self) -> f32 {
        inverse(self.scale.to_f32())
    }

    /// The nearest integer.
    #[inline(always)]
    pub(super) fn round(value: f32) -> f32 {
        value.clamp(0.0, f32::from(MAX_INTEGER)) + ROUND - ROUND
    }

    /// The nearest integers.
    fn integers(self, weights: &[f32; BLOCK]) -> [f32; BLOCK] {
        let (min, inverse) = (self.min.to_f32(), self.inverse());
        weights.map(|weight| Self::round((weight - min) * inverse))
    }

    fn error(self, weights: &[f32; BLOCK], integers: &[f32; BLOCK]) -> f32 {
        let (scale, min) = (self.scale.to_f32(), self.min.to_f32());
        sum(|at| {
            let error = weights[at] - (integers[at] * scale + min);
            error * error
        })
    }

    /// The scale and minimum with the smallest squared error for these integers.
    fn refined(self, weights: &[f32; BLOCK], integers: &[f32; BLOCK]) -> Self {
        let count = BLOCK as f32;
        let (weight, integer) = (sum(|at| weights[at]) / count, sum(|at| integers[at]) / count);
        let spread = sum(|at| (integers[at] - integer) * (integers[at] - integer));
        let together = sum(|at| (integers[at] - integer) * (weights[at] - weight));
        if spread > 0.0 && together > 0.0 {
            let scale = together / spread;
            Self::new(scale, weight - scale * integer)
        } else {
            self
        }
    }
}

/// Sums over a block in lanes, so that the loop becomes vector code.
fn sum(term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes: [f32; 8] = std::array::from_fn(&term);
    for start in (8..BLOCK).step_by(8) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::super::tests::weights;
    use super::*;

    fn error(weights: &[f32], values: impl Iterator<Item = f32>) -> f32 {
        let pairs = weights.iter().zip(values);
        pairs.map(|(weight, value)| (weight - value) * (weight - value)).sum()
    }

    #[test]
    fn the_search_loses_less_than_plain_rounding() {
        let weights = weights(64 * BLOCK);
        let (mut plain, mut found) = (0.0, 0.0);
        for block in weights.chunks(BLOCK) {
            let low = block.iter().copied().fold(f32::INFINITY, f32::min);
            let high = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let scale = (high - low) / f32::from(MAX_INTEGER);
            let rounded = block.iter().map(|w| ((w - low) / scale).round() * scale + low);
            plain += error(block, rounded);
            found += error(block, Rounded::of(block).values());
        }
        assert!(found < 0.9 * plain, "{found} and {plain}");
    }

    #[test]
    fn what_is_alike_or_next_to_nothing_is_kept() {
        for weights in [&[0.0; BLOCK][..], &[-0.375; 7], &[f32::MIN_POSITIVE / 2.0; BLOCK]] {
            let rounded = Rounded::of(weights);
            for (weight, value) in weights.iter().zip(rounded.values()) {
                assert!((weight - value).abs() < 1e-7, "{weight} became {value}");
            }
        }
        let greatest = f16::MAX.to_f32();
        let rounded = Rounded::of(&[greatest, -greatest]);
        assert!(rounded.values().all(f32::is_finite));
    }
}
