//! int4: blocks of inputs, each output with a scale and a least value in every block.
//!
//! Rounding between a block's least and greatest weight would waste the few steps there are on what
//! is far out. Narrower ranges are tried as well, and each is refined to the scale and the least
//! value that fit its integers best (least squares); what leaves the least squared error is kept.

use epitome_runtime::kernels::int4::{
    BLOCK, BLOCK_BYTES, MAX_INTEGER, MINIMA, blocks, packed_shape, position,
};
use epitome_runtime::kernels::panels::PANEL;
use epitome_runtime::operators::linear::{ACTIVATION_BITS, INT4, Operators};
use half::f16;
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSlice;

use super::packing::Packing;
use crate::onnx::proto::ElementType;

/// Packs int4 weights, and keeps the sum of each output's weights as they are after rounding.
#[derive(Debug, Default)]
pub(super) struct Int4 {
    sums: Vec<f32>,
}

impl Packing for Int4 {
    fn operators(&self) -> Operators {
        INT4
    }

    fn embedding(&self) -> Option<&'static str> {
        None
    }

    fn attributes(&self, activation_bits: i64) -> Vec<(&'static str, i64)> {
        vec![(ACTIVATION_BITS, activation_bits)]
    }

    fn limit(&self) -> f32 {
        f16::MAX.to_f32()
    }

    fn element_type(&self) -> ElementType {
        ElementType::Uint8
    }

    fn shape(&self, size_out: usize, size_in: usize) -> Vec<usize> {
        packed_shape(size_out, size_in).to_vec()
    }

    fn panel(&mut self, rows: &[f32], size_in: usize, packed: &mut Vec<u8>) {
        let rounded: Vec<Vec<Rounded>> = rows
            .par_chunks_exact(size_in)
            .with_min_len(PANEL / 4)
            .map(|row| row.chunks(BLOCK).map(Rounded::of).collect())
            .collect();
        let start = packed.len();
        packed.resize(start + blocks(size_in) * BLOCK_BYTES, 0);
        let packed = packed[start..].as_chunks_mut::<BLOCK_BYTES>().0;
        for (output, of_output) in rounded.iter().enumerate() {
            let mut sum = 0.0;
            for (block, rounded) in packed.iter_mut().zip(of_output) {
                rounded.store(output, block);
                sum += rounded.values().sum::<f32>();
            }
            self.sums.push(sum);
        }
    }

    fn columns(&self) -> Vec<f32> {
        self.sums.clone()
    }
}

/// Shares of a block's range that are tried. (More of them take longer and lower the error by less
/// than a hundredth.)
const SHARES: [f32; 2] = [1.0, 0.9];
/// How often each is refined.
const REFINEMENTS: usize = 2;

/// An output's weights of a block, rounded: `weight = scale * integer + least`.
#[derive(Clone, Copy, Debug)]
struct Rounded {
    scale: f16,
    least: f16,
    integers: [u8; BLOCK],
    /// Weights of the block; there may be less at a row's end.
    count: usize,
}

impl Rounded {
    /// The best that is found for up to [`BLOCK`] weights.
    fn of(weights: &[f32]) -> Self {
        let fold = |start, pick: fn(f32, f32) -> f32| weights.iter().copied().fold(start, pick);
        let (low, high) = (fold(f32::INFINITY, f32::min), fold(f32::NEG_INFINITY, f32::max));
        // Room behind the last weight is filled with one that is there, which no range minds.
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
        let integers = grid.integers(&padded);
        Self {
            scale: grid.scale,
            least: grid.least,
            integers: integers.map(|integer| integer as u8),
            count: weights.len(),
        }
    }

    /// What the weights became.
    fn values(&self) -> impl Iterator<Item = f32> {
        let (scale, least) = (self.scale.to_f32(), self.least.to_f32());
        let integers = self.integers[..self.count].iter();
        integers.map(move |&integer| f32::from(integer) * scale + least)
    }

    /// Writes them as those of an output.
    fn store(&self, output: usize, block: &mut [u8; BLOCK_BYTES]) {
        block[2 * output..][..2].copy_from_slice(&self.scale.to_le_bytes());
        block[MINIMA + 2 * output..][..2].copy_from_slice(&self.least.to_le_bytes());
        for (input, integer) in self.integers[..self.count].iter().enumerate() {
            let (byte, shift) = position(output, input);
            block[byte] |= integer << shift;
        }
    }
}

/// A scale and a least value, in half precision as they are stored.
#[derive(Clone, Copy, Debug)]
struct Grid {
    scale: f16,
    least: f16,
}

impl Grid {
    fn new(scale: f32, least: f32) -> Self {
        Self { scale: f16::from_f32(scale), least: f16::from_f32(least) }
    }

    /// The nearest integers.
    fn integers(self, weights: &[f32; BLOCK]) -> [f32; BLOCK] {
        /// Adding 1.5 * 2^23 leaves no bits behind the point.
        const ROUND: f32 = (3u32 << 22) as f32;
        let least = self.least.to_f32();
        let inverse = self.scale.to_f32().recip();
        // All weights alike, or next to it.
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        weights.map(|weight| {
            ((weight - least) * inverse).clamp(0.0, f32::from(MAX_INTEGER)) + ROUND - ROUND
        })
    }

    fn error(self, weights: &[f32; BLOCK], integers: &[f32; BLOCK]) -> f32 {
        let (scale, least) = (self.scale.to_f32(), self.least.to_f32());
        sum(|at| {
            let error = weights[at] - (integers[at] * scale + least);
            error * error
        })
    }

    /// The scale and least value of the least squared error for these integers.
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

/// A sum over a block in lanes, as processors like it.
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
    use super::*;

    fn error(weights: &[f32], values: impl Iterator<Item = f32>) -> f32 {
        let pairs = weights.iter().zip(values);
        pairs.map(|(weight, value)| (weight - value) * (weight - value)).sum()
    }

    /// Weights that are about normal, from a fixed sequence.
    fn weights(count: usize) -> Vec<f32> {
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
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
    fn panels_hold_what_was_rounded() {
        let size_in = BLOCK + 5;
        let rows = weights(PANEL * size_in);
        let (mut packing, mut packed) = (Int4::default(), Vec::new());
        packing.panel(&rows, size_in, &mut packed);
        assert_eq!(packed.len(), packed_shape(PANEL, size_in).iter().product::<usize>());
        let packed = packed.as_chunks::<BLOCK_BYTES>().0;
        for (output, row) in rows.chunks(size_in).enumerate() {
            let mut sum = 0.0;
            for (weights, block) in row.chunks(BLOCK).zip(packed) {
                let rounded = Rounded::of(weights);
                let number = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]);
                assert_eq!(number(2 * output), rounded.scale);
                assert_eq!(number(MINIMA + 2 * output), rounded.least);
                for input in 0..BLOCK {
                    let (byte, shift) = position(output, input);
                    let expected = if input < weights.len() { rounded.integers[input] } else { 0 };
                    assert_eq!(block[byte] >> shift & MAX_INTEGER, expected, "input {input}");
                }
                sum += rounded.values().sum::<f32>();
            }
            assert_eq!(packing.sums[output], sum);
        }
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
