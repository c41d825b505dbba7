//! Weights as floating-point numbers: as they are, or rounded to half precision.

use epitome_runtime::operators::float;
use half::f16;

use super::Packing;
use crate::arch::Side;
use crate::onnx::proto::ElementType;

/// Packs float32 weights, which need nothing beside them.
#[derive(Debug, Default)]
pub(super) struct Fp32;

impl Packing for Fp32 {
    fn linear(&self) -> &'static str {
        float::LINEAR_FP32
    }

    fn embedding(&self) -> Option<&'static str> {
        Some(float::EMBEDDING_FP32)
    }

    fn attributes(&self, _: Side) -> Vec<(&'static str, i64)> {
        Vec::new()
    }

    fn element_type(&self) -> ElementType {
        ElementType::Float
    }

    fn shape(&self, size_out: usize, size_in: usize) -> Vec<usize> {
        float::packed_shape(size_out, size_in).to_vec()
    }

    fn panel(&mut self, rows: &[f32], size_in: usize, packed: &mut Vec<u8>) {
        interleave(rows, size_in, packed, f32::to_le_bytes);
    }

    fn columns(&self) -> Vec<f32> {
        Vec::new()
    }
}

/// Packs float16 weights, which need nothing beside them.
#[derive(Debug, Default)]
pub(super) struct Fp16;

impl Packing for Fp16 {
    fn linear(&self) -> &'static str {
        float::LINEAR_FP16
    }

    fn embedding(&self) -> Option<&'static str> {
        Some(float::EMBEDDING_FP16)
    }

    fn attributes(&self, _: Side) -> Vec<(&'static str, i64)> {
        Vec::new()
    }

    fn limit(&self) -> f32 {
        f16::MAX.to_f32()
    }

    fn element_type(&self) -> ElementType {
        ElementType::Float16
    }

    fn shape(&self, size_out: usize, size_in: usize) -> Vec<usize> {
        float::packed_shape(size_out, size_in).to_vec()
    }

    fn panel(&mut self, rows: &[f32], size_in: usize, packed: &mut Vec<u8>) {
        interleave(rows, size_in, packed, |weight| {
            f16::from_f32(weight).to_le_bytes()
        });
    }

    fn columns(&self) -> Vec<f32> {
        Vec::new()
    }
}

/// Appends, for each input in turn, the weights of all outputs.
fn interleave<const N: usize>(
    rows: &[f32],
    size_in: usize,
    packed: &mut Vec<u8>,
    bytes: impl Fn(f32) -> [u8; N],
) {
    packed.reserve(N * rows.len());
    for input in 0..size_in {
        for row in rows.chunks_exact(size_in) {
            packed.extend(bytes(row[input]));
        }
    }
}

#[cfg(test)]
mod tests {
    use epitome_runtime::operators::panels::PANEL;

    use super::*;

    #[test]
    fn inputs_come_in_turn_with_their_outputs_side_by_side() {
        let size_in = 3;
        let rows: Vec<f32> = (0..PANEL * size_in)
            .map(|index| index as f32 / 7.0)
            .collect();
        let mut packed = Vec::new();
        Fp16.panel(&rows, size_in, &mut packed);
        let expected = float::packed_shape(PANEL, size_in)
            .iter()
            .product::<usize>();
        assert_eq!(packed.len(), 2 * expected);
        for (index, bytes) in packed.as_chunks().0.iter().enumerate() {
            let weight = rows[index % PANEL * size_in + index / PANEL];
            assert_eq!(
                f16::from_le_bytes(*bytes),
                f16::from_f32(weight),
                "weight {index}"
            );
        }
    }
}
