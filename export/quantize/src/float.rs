//! Weights in float32 or float16.

use std::marker::PhantomData;

use epitome_kernels::float;
use half::f16;

use super::packing::{Format, Packing};

/// Keeps weights as float32.
pub fn fp32() -> Box<dyn Packing> {
    Box::<Float<f32>>::default()
}

/// Rounds weights to half precision.
pub fn fp16() -> Box<dyn Packing> {
    Box::<Float<f16>>::default()
}

/// An element type of weights.
trait Element {
    /// Format of the packed weights.
    const FORMAT: Format;
    /// Largest magnitude.
    const LIMIT: f32;

    /// Appends a weight, rounded if necessary.
    fn append(weight: f32, packed: &mut Vec<u8>);
}

impl Element for f32 {
    const FORMAT: Format = Format::Fp32;
    const LIMIT: f32 = f32::MAX;

    #[inline]
    fn append(weight: f32, packed: &mut Vec<u8>) {
        packed.extend(weight.to_le_bytes());
    }
}

impl Element for f16 {
    const FORMAT: Format = Format::Fp16;
    const LIMIT: f32 = 65_504.0;

    #[inline]
    fn append(weight: f32, packed: &mut Vec<u8>) {
        packed.extend(f16::from_f32(weight).to_le_bytes());
    }
}

/// Packs weights as elements `E`, without data for columns.
#[derive(Debug, Default)]
struct Float<E>(PhantomData<E>);

impl<E: Element> Packing for Float<E> {
    fn format(&self) -> Format {
        E::FORMAT
    }

    fn activation_bits(&self, _: i64) -> Option<i64> {
        None
    }

    fn limit(&self) -> f32 {
        E::LIMIT
    }

    fn shape(&self, size_out: usize, size_in: usize) -> Vec<usize> {
        float::packed_shape(size_out, size_in).to_vec()
    }

    /// Packs the weights of all outputs for each input in turn.
    fn panel(&mut self, rows: &[f32], size_in: usize, packed: &mut Vec<u8>) {
        packed.reserve(size_of::<E>() * rows.len());
        for input in 0..size_in {
            for row in rows.chunks_exact(size_in) {
                E::append(row[input], packed);
            }
        }
    }

    fn columns(&self) -> Vec<f32> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use epitome_kernels::panels::PANEL;

    use super::*;

    #[test]
    fn inputs_come_in_turn_with_their_outputs_side_by_side() {
        let size_in = 3;
        let rows: Vec<f32> = (0..PANEL * size_in).map(|index| index as f32 / 7.0).collect();
        let mut packed = Vec::new();
        Float::<f16>::default().panel(&rows, size_in, &mut packed);
        let expected = float::packed_shape(PANEL, size_in).iter().product::<usize>();
        assert_eq!(packed.len(), 2 * expected);
        for (index, bytes) in packed.as_chunks().0.iter().enumerate() {
            let weight = rows[index % PANEL * size_in + index / PANEL];
            assert_eq!(f16::from_le_bytes(*bytes), f16::from_f32(weight), "weight {index}");
        }
    }
}
