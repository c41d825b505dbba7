//! Activations rounded to unsigned integers. Each row has its own scale and minimum, so that it
//! does not depend on other rows.

use std::ops::{Deref, Range};

use crate::dispatch;
use crate::panels::{GROUP, MATRIX_GROUP};
use crate::parallel::{Disjoint, ThreadPool, parallel_for};
use crate::simd::ROUND;
use crate::simd::prefetch::CACHE_LINE;

/// Rows of a task.
const ROWS_PER_TASK: usize = 16;

/// Layout of the integers of all rows in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Inputs of a row, padding included: a multiple of the group.
    pub(crate) stride: usize,
    /// Rows of a tile; the last tile may have fewer.
    pub(crate) mr: usize,
    /// Inputs of a row that lie side by side: [`GROUP`] or [`MATRIX_GROUP`].
    pub(crate) group: usize,
}

/// Scale and minimum of a row: `x = scale * integer + min`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RowScale {
    /// Size of one step; NaN if a value of the row is not finite.
    pub(crate) scale: f32,
    /// The value of the integer 0.
    pub(crate) min: f32,
}

/// Bytes that start at a cache line.
#[derive(Debug, Default)]
struct AlignedBytes {
    bytes: Vec<u8>,
    first: usize,
    len: usize,
}

impl AlignedBytes {
    /// Changes the length. Afterwards the values of the bytes are unspecified.
    fn resize(&mut self, len: usize) -> &mut [u8] {
        self.bytes.resize(len + CACHE_LINE, 0);
        self.first = self.bytes.as_ptr().align_offset(CACHE_LINE);
        self.len = len;
        &mut self.bytes[self.first..][..len]
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.first..][..self.len]
    }
}

/// Rows of unsigned integers, tile by tile. A tile holds the first group of inputs of every row in
/// turn, then the second group of every row, and so on.
#[derive(Debug, Default)]
pub struct QuantizedActivations {
    bytes: AlignedBytes,
    scales: Vec<RowScale>,
    layout: Layout,
}

impl QuantizedActivations {
    /// Rounds each row of `x`, `[rows, size]`, to unsigned integers of `bits` bits, padded with
    /// zeros.
    pub(crate) fn fill<P: ThreadPool>(
        &mut self,
        pool: &P,
        x: &[f32],
        size: usize,
        layout: Layout,
        bits: u32,
    ) -> Result<(), P::Error> {
        let count = x.len() / size;
        let Layout { stride, mr, .. } = layout;
        self.layout = layout;
        self.scales.resize(count, RowScale::default());
        let (bytes, scales) =
            (Disjoint::new(self.bytes.resize(count * stride)), Disjoint::new(&mut self.scales));
        let tiles = count.div_ceil(mr);
        let tiles_per_task = ROWS_PER_TASK.div_ceil(mr);
        parallel_for(pool, tiles, tiles_per_task, 4 * x.len(), |tiles| {
            for tile in tiles {
                let rows = rows_of_tile(tile, mr, count);
                // SAFETY: only this task writes the tile.
                let (bytes, scales) = unsafe {
                    let bytes = bytes.part(rows.start * stride..rows.end * stride);
                    (bytes, scales.part(rows.clone()))
                };
                let x = x[rows.start * size..rows.end * size].chunks_exact(size);
                for (row, (x, scale)) in x.zip(scales).enumerate() {
                    let position = RowPosition { row, rows: rows.len(), group: layout.group };
                    *scale = quantize(x, bits, bytes, position);
                }
            }
        })
    }

    /// Inputs of a row, padding included.
    pub(crate) fn stride(&self) -> usize {
        self.layout.stride
    }

    /// Number of tiles.
    pub(crate) fn tiles(&self) -> usize {
        self.scales.len().div_ceil(self.layout.mr)
    }

    /// The rows of a tile.
    pub(crate) fn rows_of_tile(&self, tile: usize) -> Range<usize> {
        rows_of_tile(tile, self.layout.mr, self.scales.len())
    }

    /// The integers from row `first` on, the first row of a tile.
    pub(crate) fn bytes_from(&self, first: usize) -> &[u8] {
        &self.bytes[first * self.layout.stride..]
    }

    /// The scales of all rows.
    pub(crate) fn scales(&self) -> &[RowScale] {
        &self.scales
    }
}

/// The rows of a tile, if `count` rows are cut into tiles of `mr` rows.
fn rows_of_tile(tile: usize, mr: usize, count: usize) -> Range<usize> {
    tile * mr..((tile + 1) * mr).min(count)
}

/// Position of a row in a tile.
#[derive(Clone, Copy, Debug)]
struct RowPosition {
    /// Number of the row in the tile.
    row: usize,
    /// Rows of the tile.
    rows: usize,
    /// Inputs of a row that lie side by side: [`GROUP`] or [`MATRIX_GROUP`].
    group: usize,
}

/// Values that are compared side by side: two AVX-512 registers, since each comparison waits for
/// the one before.
const LANES: usize = 32;
/// Values that are rounded before they are stored.
const CHUNK: usize = 512;

#[inline(always)]
fn quantize_body(row: &[f32], bits: u32, bytes: &mut [u8], position: RowPosition) -> RowScale {
    let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    let mut infinite = [0u32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut compare = |chunk: &[f32]| {
        for (lane, &value) in chunk.iter().enumerate() {
            low[lane] = if value < low[lane] { value } else { low[lane] };
            high[lane] = if value > high[lane] { value } else { high[lane] };
            infinite[lane] |= u32::from(value.to_bits() & 0x7f80_0000 == 0x7f80_0000);
        }
    };
    for chunk in chunks {
        compare(chunk);
    }
    compare(rest);
    if row.is_empty() || infinite.iter().any(|&lane| lane != 0) {
        let groups = bytes.chunks_mut(position.group);
        for group in groups.skip(position.row).step_by(position.rows) {
            group.fill(0);
        }
        return RowScale { scale: f32::NAN, min: f32::NAN };
    }
    // Each step compares half of the lanes with the other half. One lane after the other would take
    // longer than a short row.
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            let (left, right) = (low[lane], low[lane + width]);
            low[lane] = if right < left { right } else { left };
            let (left, right) = (high[lane], high[lane + width]);
            high[lane] = if right > left { right } else { left };
        }
    }
    let ([min, ..], [max, ..]) = (low, high);
    let steps = ((1u32 << bits) - 1) as f32;
    let scale = (max - min) / steps;
    // If all values of the row are equal, every integer is 0.
    let inverse = if scale > 0.0 { steps / (max - min) } else { 0.0 };
    let round = |value: f32| (((value - min) * inverse + ROUND).to_bits() & 0xff) as u8;
    match position.group {
        GROUP => store::<GROUP>(row, round, bytes, position),
        MATRIX_GROUP => store::<MATRIX_GROUP>(row, round, bytes, position),
        other => panic!("groups of {other} inputs"),
    }
    RowScale { scale, min }
}

/// Stores the integers of a row in its tile, padded with zeros.
#[inline(always)]
fn store<const GROUP_SIZE: usize>(
    row: &[f32],
    round: impl Fn(f32) -> u8,
    bytes: &mut [u8],
    position: RowPosition,
) {
    let groups = bytes.as_chunks_mut::<GROUP_SIZE>().0;
    let mut index = position.row;
    let mut integers = [0; CHUNK];
    for part in row.chunks(CHUNK) {
        // Two loops, so that the first processes whole registers.
        for (integer, &value) in integers.iter_mut().zip(part) {
            *integer = round(value);
        }
        integers[part.len()..].fill(0);
        let filled = part.len().div_ceil(GROUP_SIZE);
        for integers in &integers.as_chunks::<GROUP_SIZE>().0[..filled] {
            groups[index] = *integers;
            index += position.rows;
        }
    }
    while index < groups.len() {
        groups[index] = [0; GROUP_SIZE];
        index += position.rows;
    }
}

dispatch! {
    /// Rounds a row to unsigned integers of `bits` bits, 8 at most, between its minimum and its
    /// maximum. Writes them to their position in `bytes`, a tile, padded with zeros.
    fn quantize(
        row: &[f32],
        bits: u32,
        bytes: &mut [u8],
        position: RowPosition,
    ) -> RowScale = quantize_body;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panels::padded_inputs;

    #[test]
    fn rows_lie_group_by_group_and_come_back_within_half_a_step() {
        let sizes = [(1, 1), (7, 3), (16, 2), (37, 5), (64, 12), (600, 7)];
        for ((size, rows), group) in
            sizes.into_iter().flat_map(|size| [(size, GROUP), (size, MATRIX_GROUP)])
        {
            let stride = padded_inputs(size).next_multiple_of(group);
            let mut bytes = vec![7; rows * stride];
            for number in 0..rows {
                let row: Vec<f32> =
                    (0..size).map(|index| ((index * 31 + number * 17) % 23) as f32 - 9.5).collect();
                let position = RowPosition { row: number, rows, group };
                let scale = quantize(&row, 8, &mut bytes, position);
                for index in 0..stride {
                    let at = (index / group * rows + number) * group + index % group;
                    let back = f32::from(bytes[at]) * scale.scale + scale.min;
                    match row.get(index) {
                        Some(value) => assert!((value - back).abs() <= 0.5001 * scale.scale),
                        None => assert_eq!(bytes[at], 0),
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_that_is_not_finite_spoils_no_other() {
        let mut bytes = vec![7; 2 * 8];
        let position = |row| RowPosition { row, rows: 2, group: GROUP };
        let fine = quantize(&[1.0, 2.0, 3.0], 8, &mut bytes, position(1));
        let spoilt = quantize(&[1.0, f32::INFINITY, 3.0], 8, &mut bytes, position(0));
        assert!(spoilt.scale.is_nan() && fine.scale.is_finite());
        assert_eq!(bytes, [0, 0, 0, 0, 0, 128, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
