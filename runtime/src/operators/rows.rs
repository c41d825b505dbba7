//! Activations as small integers, each row on its own.

use ort::operator::ComputeContext;

use super::parallel::{Disjoint, share};
use crate::simd::dispatch;

/// Rows that one thread rounds at a time.
const ROWS_A_PART: usize = 16;

/// How a row's integers turn back: `x = scale * integer + least`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowScale {
    /// Size of one step; NaN where the row holds what is not a finite number.
    pub scale: f32,
    /// The value of 0.
    pub least: f32,
}

/// Rows of unsigned integers of a few bits, each with its own scale: a row never depends on its
/// neighbours.
#[derive(Clone, Debug, Default)]
pub struct QuantizedRows {
    /// `[rows, stride]`, zeros behind each row's inputs.
    bytes: Vec<u8>,
    scales: Vec<RowScale>,
    stride: usize,
}

impl QuantizedRows {
    /// Rounds each row of `x`, `[_, size]`, to unsigned integers of `bits` bits, and pads it with zeros to
    /// `stride`.
    pub(crate) fn fill(
        &mut self,
        context: &ComputeContext,
        x: &[f32],
        size: usize,
        stride: usize,
        bits: u32,
    ) -> ort::Result<()> {
        let rows = x.len() / size;
        self.stride = stride;
        self.bytes.resize(rows * stride, 0);
        self.scales.resize(rows, RowScale::default());
        let (bytes, scales) = (
            Disjoint::new(&mut self.bytes),
            Disjoint::new(&mut self.scales),
        );
        share(context, rows, ROWS_A_PART, 4 * x.len(), |rows| {
            for row in rows {
                // SAFETY: each row is written by the one thread that has it.
                unsafe {
                    let bytes = bytes.part(row * stride..(row + 1) * stride);
                    scales.part(row..row + 1)[0] =
                        quantize(&x[row * size..(row + 1) * size], bits, bytes);
                }
            }
        })
    }

    /// Bytes of a row.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The integers of the rows from `first` on.
    pub fn bytes_from(&self, first: usize) -> &[u8] {
        &self.bytes[first * self.stride..]
    }

    /// The scales of all rows.
    pub fn scales(&self) -> &[RowScale] {
        &self.scales
    }
}

const LANES: usize = 16;

#[inline(always)]
fn quantize_body(row: &[f32], bits: u32, bytes: &mut [u8]) -> RowScale {
    let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    let mut infinite = [0u32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut look = |chunk: &[f32]| {
        for (lane, &value) in chunk.iter().enumerate() {
            low[lane] = if value < low[lane] { value } else { low[lane] };
            high[lane] = if value > high[lane] {
                value
            } else {
                high[lane]
            };
            infinite[lane] |= u32::from(value.to_bits() & 0x7f80_0000 == 0x7f80_0000);
        }
    };
    for chunk in chunks {
        look(chunk);
    }
    look(rest);
    let (bytes, padding) = bytes.split_at_mut(row.len());
    padding.fill(0);
    if row.is_empty() || infinite.iter().any(|&lane| lane != 0) {
        bytes.fill(0);
        return RowScale {
            scale: f32::NAN,
            least: f32::NAN,
        };
    }
    let least = low.into_iter().fold(f32::INFINITY, f32::min);
    let most = high.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let steps = ((1u32 << bits) - 1) as f32;
    let scale = (most - least) / steps;
    // A row of one value: every integer is 0.
    let inverse = if scale > 0.0 {
        steps / (most - least)
    } else {
        0.0
    };
    // Adding this leaves no bits behind the point, so the lowest byte is the value rounded to even.
    const ROUND: f32 = (3u32 << 22) as f32;
    for (byte, value) in bytes.iter_mut().zip(row) {
        *byte = (((value - least) * inverse + ROUND).to_bits() & 0xff) as u8;
    }
    RowScale { scale, least }
}

dispatch! {
    /// Rounds a row to unsigned integers of `bits` bits, 8 at most, between its least and its
    /// greatest value; `bytes` is as long as the row or longer, and zero behind it.
    pub fn quantize(row: &[f32], bits: u32, bytes: &mut [u8]) -> RowScale = quantize_body;
}
