//! int4: each output has a scale and a minimum in every block of inputs.

mod gptq;
mod grid;

use epitome_kernels::int4::{BLOCK, BLOCK_BYTES, blocks, packed_shape};
use epitome_kernels::panels::PANEL;
use half::f16;
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSlice;

use self::gptq::Gptq;
pub use self::gptq::{padded, rounding_bytes};
use self::grid::Rounded;
use super::InputProducts;
use super::packing::{Format, Packing};

/// Packs int4 weights, and keeps the sum of each output's rounded weights.
#[derive(Debug, Default)]
pub struct Int4 {
    rounding: Rounding,
    sums: Vec<f32>,
}

/// How weights are rounded.
#[derive(Debug, Default)]
enum Rounding {
    /// To the nearest value.
    #[default]
    Nearest,
    /// With GPTQ, by calibration data.
    Gptq(Box<Gptq>),
    /// To the nearest value, since there is too little calibration data.
    Fallback,
}

impl Int4 {
    /// Rounds with GPTQ. `inputs` is the calibration data of the matrix.
    pub fn calibrated(inputs: Option<InputProducts>) -> Self {
        let gptq = inputs.and_then(Gptq::new).map(Box::new);
        Self { rounding: gptq.map_or(Rounding::Fallback, Rounding::Gptq), sums: Vec::new() }
    }

    /// Rounds each row to blocks.
    fn round(&self, rows: &[f32], size_in: usize) -> Vec<Vec<Rounded>> {
        if let Rounding::Gptq(gptq) = &self.rounding {
            return gptq.round(rows, size_in);
        }
        rows.par_chunks_exact(size_in)
            .with_min_len(PANEL / 4)
            .map(|row| row.chunks(BLOCK).map(Rounded::of).collect())
            .collect()
    }
}

impl Packing for Int4 {
    fn format(&self) -> Format {
        Format::Int4
    }

    fn activation_bits(&self, wanted: i64) -> Option<i64> {
        Some(match self.rounding {
            Rounding::Nearest => wanted,
            // Calibrated weights lose so little that the eighth bit matters; with int4 weights it
            // costs nothing.
            Rounding::Gptq(_) | Rounding::Fallback => 8,
        })
    }

    fn is_calibrated(&self) -> Option<bool> {
        match self.rounding {
            Rounding::Nearest => None,
            Rounding::Gptq(_) => Some(true),
            Rounding::Fallback => Some(false),
        }
    }

    fn limit(&self) -> f32 {
        f16::MAX.to_f32()
    }

    fn shape(&self, size_out: usize, size_in: usize) -> Vec<usize> {
        packed_shape(size_out, size_in).to_vec()
    }

    fn panel(&mut self, rows: &[f32], size_in: usize, packed: &mut Vec<u8>) {
        let rounded = self.round(rows, size_in);
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

#[cfg(test)]
mod tests {
    use epitome_kernels::int4::{MAX_INTEGER, MINIMA, position};
    use half::f16;

    use super::*;

    /// Pseudorandom weights of about a normal distribution, from a fixed seed.
    pub(super) fn weights(count: usize) -> Vec<f32> {
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
    }

    /// Sums that are no Hessian, or are too large for float32, are not used.
    #[test]
    fn sums_that_are_no_use_are_left_alone() {
        let (size_in, size) = (BLOCK + 5, padded(BLOCK + 5));
        let sums = |diagonal: f32, beside: f32| -> Vec<f32> {
            let value = |at| if at / size == at % size { diagonal } else { beside };
            (0..size * size).map(value).collect()
        };
        let rows = weights(PANEL * size_in);
        let packed = |mut packing: Int4| {
            let mut packed = Vec::new();
            packing.panel(&rows, size_in, &mut packed);
            (packing.is_calibrated(), packing.activation_bits(7), packed)
        };
        let (calibrated, bits, plain) = packed(Int4::default());
        assert_eq!((calibrated, bits), (None, Some(7)));
        for (diagonal, beside) in
            [(f32::INFINITY, 1.0), (f32::INFINITY, f32::NAN), (1.0, 10.0), (0.0, 0.0), (-1.0, 0.0)]
        {
            let inputs = InputProducts { sums: sums(diagonal, beside), size_in, rows: 100 };
            assert_eq!(
                packed(Int4::calibrated(Some(inputs))),
                (Some(false), Some(8), plain.clone())
            );
        }
        assert_eq!(packed(Int4::calibrated(None)), (Some(false), Some(8), plain));
        let inputs = InputProducts { sums: sums(2.0, 1.0), size_in, rows: 100 };
        assert_eq!(packed(Int4::calibrated(Some(inputs))).0, Some(true));
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
                assert_eq!(number(2 * output), rounded.grid.scale);
                assert_eq!(number(MINIMA + 2 * output), rounded.grid.min);
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
}
