//! Activations as small integers, each row on its own.

use std::ops::{Deref, Range};

use ort::operator::ComputeContext;

use super::panels::{GROUP, MATRIX_GROUP};
use super::parallel::{Disjoint, share};
use crate::simd::dispatch;

/// Rows that one thread rounds at a time.
const ROWS_A_PART: usize = 16;

/// Bytes of a cache line, which tiles begin at.
pub(crate) const LINE: usize = 64;

/// How rows lie in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Inputs of a row, padding included: a multiple of the group.
    pub stride: usize,
    /// Rows of a tile; the last may have less.
    pub rows: usize,
    /// Inputs of a row that lie side by side: [`GROUP`] or [`MATRIX_GROUP`].
    pub group: usize,
}

/// How a row's integers turn back: `x = scale * integer + least`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowScale {
    /// Size of one step; NaN where the row holds what is not a finite number.
    pub scale: f32,
    /// The value of 0.
    pub least: f32,
}

/// Bytes that begin with a cache line.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    first: usize,
    len: usize,
}

impl Lines {
    /// Makes them as many; what they are is left open.
    fn resize(&mut self, len: usize) -> &mut [u8] {
        self.bytes.resize(len + LINE, 0);
        self.first = self.bytes.as_ptr().align_offset(LINE);
        self.len = len;
        &mut self.bytes[self.first..][..len]
    }
}

impl Deref for Lines {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.first..][..self.len]
    }
}

/// Rows of unsigned integers of a few bits, each with its own scale: a row never depends on its
/// neighbours.
///
/// Rows that are multiplied together lie together, as [`Tile`](super::int8::Tile) has it.
#[derive(Debug, Default)]
pub struct QuantizedRows {
    /// A tile after the other.
    bytes: Lines,
    scales: Vec<RowScale>,
    layout: Layout,
}

impl QuantizedRows {
    /// Rounds each row of `x`, `[_, size]`, to unsigned integers of `bits` bits, padded with zeros.
    pub(crate) fn fill(
        &mut self,
        context: &ComputeContext,
        x: &[f32],
        size: usize,
        layout: Layout,
        bits: u32,
    ) -> ort::Result<()> {
        let count = x.len() / size;
        let Layout {
            stride, rows: tile, ..
        } = layout;
        self.layout = layout;
        self.scales.resize(count, RowScale::default());
        let (bytes, scales) = (
            Disjoint::new(self.bytes.resize(count * stride)),
            Disjoint::new(&mut self.scales),
        );
        let tiles_a_part = ROWS_A_PART.div_ceil(tile);
        share(
            context,
            count.div_ceil(tile),
            tiles_a_part,
            4 * x.len(),
            |tiles| {
                for index in tiles {
                    let rows = rows_of(index, tile, count);
                    // SAFETY: each tile is written by the one thread that has it.
                    let (bytes, scales) = unsafe {
                        let bytes = bytes.part(rows.start * stride..rows.end * stride);
                        (bytes, scales.part(rows.clone()))
                    };
                    let x = x[rows.start * size..rows.end * size].chunks_exact(size);
                    for (place, (row, scale)) in x.zip(scales).enumerate() {
                        let place = Place {
                            row: place,
                            rows: rows.len(),
                            group: layout.group,
                        };
                        *scale = quantize(row, bits, bytes, place);
                    }
                }
            },
        )
    }

    /// Inputs of a row, padding included.
    pub fn stride(&self) -> usize {
        self.layout.stride
    }

    /// How many tiles.
    pub fn tiles(&self) -> usize {
        self.scales.len().div_ceil(self.layout.rows)
    }

    /// The rows of a tile.
    pub fn rows_of(&self, tile: usize) -> Range<usize> {
        rows_of(tile, self.layout.rows, self.scales.len())
    }

    /// The integers of the rows from `first` on, which is the first of a tile.
    pub fn bytes_from(&self, first: usize) -> &[u8] {
        &self.bytes[first * self.layout.stride..]
    }

    /// The scales of all rows.
    pub fn scales(&self) -> &[RowScale] {
        &self.scales
    }
}

/// The rows of tile `index`, where tiles have `tile` rows and there are `count`.
fn rows_of(index: usize, tile: usize, count: usize) -> Range<usize> {
    index * tile..((index + 1) * tile).min(count)
}

/// Where a row lies in a tile.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its number.
    pub row: usize,
    /// Rows of the tile.
    pub rows: usize,
    /// Inputs of a row that lie side by side: [`GROUP`] or [`MATRIX_GROUP`].
    pub group: usize,
}

/// Numbers looked at side by side: what two AVX-512 registers hold, as one waits for itself.
const LANES: usize = 32;
/// Numbers that are rounded before they are put in their places.
const AT_ONCE: usize = 512;

#[inline(always)]
fn quantize_body(row: &[f32], bits: u32, bytes: &mut [u8], place: Place) -> RowScale {
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
    if row.is_empty() || infinite.iter().any(|&lane| lane != 0) {
        let groups = bytes.chunks_mut(place.group);
        for group in groups.skip(place.row).step_by(place.rows) {
            group.fill(0);
        }
        return RowScale {
            scale: f32::NAN,
            least: f32::NAN,
        };
    }
    // Half with half: one by one takes longer than a short row.
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            let (near, far) = (low[lane], low[lane + width]);
            low[lane] = if far < near { far } else { near };
            let (near, far) = (high[lane], high[lane + width]);
            high[lane] = if far > near { far } else { near };
        }
    }
    let ([least, ..], [most, ..]) = (low, high);
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
    let round = |value: f32| (((value - least) * inverse + ROUND).to_bits() & 0xff) as u8;
    match place.group {
        GROUP => put::<GROUP>(row, round, bytes, place),
        MATRIX_GROUP => put::<MATRIX_GROUP>(row, round, bytes, place),
        other => panic!("groups of {other} inputs"),
    }
    RowScale { scale, least }
}

/// Puts the integers of a row of a tile in their places, and zeros behind them.
#[inline(always)]
fn put<const SIDE: usize>(row: &[f32], round: impl Fn(f32) -> u8, bytes: &mut [u8], place: Place) {
    let groups = bytes.as_chunks_mut::<SIDE>().0;
    let mut at = place.row;
    let mut integers = [0; AT_ONCE];
    for part in row.chunks(AT_ONCE) {
        // Two loops, so that the first is one of whole registers.
        for (integer, &value) in integers.iter_mut().zip(part) {
            *integer = round(value);
        }
        integers[part.len()..].fill(0);
        let filled = part.len().div_ceil(SIDE);
        for integers in &integers.as_chunks::<SIDE>().0[..filled] {
            groups[at] = *integers;
            at += place.rows;
        }
    }
    while at < groups.len() {
        groups[at] = [0; SIDE];
        at += place.rows;
    }
}

dispatch! {
    /// Rounds a row to unsigned integers of `bits` bits, 8 at most, between its least and its
    /// greatest value. `bytes` are a tile; behind the row's inputs come zeros.
    pub fn quantize(
        row: &[f32],
        bits: u32,
        bytes: &mut [u8],
        place: Place,
    ) -> RowScale = quantize_body;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::panels::padded_inputs;

    #[test]
    fn rows_lie_group_by_group_and_come_back_within_half_a_step() {
        let sizes = [(1, 1), (7, 3), (16, 2), (37, 5), (64, 12), (600, 7)];
        for ((size, rows), group) in sizes
            .into_iter()
            .flat_map(|size| [(size, GROUP), (size, MATRIX_GROUP)])
        {
            let stride = padded_inputs(size).next_multiple_of(group);
            let mut bytes = vec![7; rows * stride];
            for number in 0..rows {
                let row: Vec<f32> = (0..size)
                    .map(|index| ((index * 31 + number * 17) % 23) as f32 - 9.5)
                    .collect();
                let place = Place {
                    row: number,
                    rows,
                    group,
                };
                let scale = quantize(&row, 8, &mut bytes, place);
                for index in 0..stride {
                    let at = (index / group * rows + number) * group + index % group;
                    let back = f32::from(bytes[at]) * scale.scale + scale.least;
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
        let place = |row| Place {
            row,
            rows: 2,
            group: GROUP,
        };
        let fine = quantize(&[1.0, 2.0, 3.0], 8, &mut bytes, place(1));
        let spoilt = quantize(&[1.0, f32::INFINITY, 3.0], 8, &mut bytes, place(0));
        assert!(spoilt.scale.is_nan() && fine.scale.is_finite());
        assert_eq!(bytes, [0, 0, 0, 0, 0, 128, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
