//! int4: blocks of inputs, each output with a scale and a least value in every block.

mod gptq;
mod grid;

use epitome_runtime::kernels::int4::{BLOCK, BLOCK_BYTES, blocks, packed_shape};
use epitome_runtime::kernels::panels::PANEL;
use epitome_runtime::operators::linear::{ACTIVATION_BITS, INT4, Operators};
use half::f16;
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSlice;

use self::gptq::Gptq;
pub(crate) use self::gptq::padded;
use self::grid::Rounded;
use super::packing::Packing;
use crate::onnx::proto::ElementType;

/// Packs int4 weights, and keeps the sum of each output's weights as they are after rounding.
#[derive(Debug, Default)]
pub(super) struct Int4 {
    /// How weights are rounded where it is known what they are multiplied with.
    gptq: Option<Gptq>,
    sums: Vec<f32>,
}

impl Int4 {
    /// For a matrix whose rows read `size_in` inputs with this sum of their products, the upper half
    /// of `[padded, padded]`.
    pub(super) fn calibrated(hessian: Vec<f32>, size_in: usize) -> Self {
        Self { gptq: Gptq::new(hessian, size_in), sums: Vec::new() }
    }

    /// The blocks of each row.
    fn round(&self, rows: &[f32], size_in: usize) -> Vec<Vec<Rounded>> {
        if let Some(gptq) = &self.gptq {
            return gptq.round(rows, size_in);
        }
        rows.par_chunks_exact(size_in)
            .with_min_len(PANEL / 4)
            .map(|row| row.chunks(BLOCK).map(Rounded::of).collect())
            .collect()
    }
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
    use epitome_runtime::kernels::int4::{MAX_INTEGER, MINIMA, position};
    use half::f16;

    use super::*;

    /// Weights that are about normal, from a fixed sequence.
    pub(super) fn weights(count: usize) -> Vec<f32> {
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
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
                assert_eq!(number(MINIMA + 2 * output), rounded.grid.least);
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
