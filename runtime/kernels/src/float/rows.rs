//! Rows of activations as products read them.

use std::ops::Range;

use super::kernel::{HIGH_ROWS, KC, LOW_ROWS, max_rows};
use crate::dispatch;
use crate::parallel::{Disjoint, ThreadPool, share};

/// Rows of a pass, at most.
const ROWS: usize = 512;
/// Bytes of a block of activations, which stays in the second-level cache while panels pass.
const BLOCK_BYTES: usize = 256 << 10;

/// How rows are cut.
///
/// A pass is some rows, and a block some inputs of all of them. Within a block lies tile after
/// tile, and within a tile input after input, each of all rows: whatever a tile's product reads
/// lies side by side. As they come, rows would be a power of two apart, and evict each other from
/// the first-level cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    rows: usize,
    size_in: usize,
    /// Rows of a tile; the last of a pass may have fewer.
    pub(super) tile: usize,
    /// Rows of a pass: whole tiles; the last pass may have fewer.
    pass: usize,
    /// Inputs of a block; the last may have fewer.
    block: usize,
}

impl Cut {
    /// Cuts `rows` rows of `size_in` inputs. The rows of a decoder's step are a single tile, and
    /// are read as they come.
    pub(super) fn new(rows: usize, size_in: usize) -> Self {
        if rows <= LOW_ROWS {
            return Self { rows, size_in, tile: rows, pass: rows, block: size_in };
        }
        let tile = rows.div_ceil(rows.div_ceil(max_rows()));
        let pass = rows.div_ceil(rows.div_ceil(ROWS)).next_multiple_of(tile);
        let fitting = BLOCK_BYTES / size_of::<f32>() / pass.min(rows) / KC * KC;
        Self { rows, size_in, tile, pass, block: fitting.clamp(KC, size_in.max(KC)) }
    }

    /// Whether rows are read as they come.
    pub(super) fn is_low(self) -> bool {
        self.rows <= LOW_ROWS
    }

    /// The rows of each pass.
    pub(super) fn passes(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.rows)
            .step_by(self.pass.max(1))
            .map(move |first| first..(first + self.pass).min(self.rows))
    }

    /// The inputs of each block.
    pub(super) fn blocks(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.size_in)
            .step_by(self.block.max(1))
            .map(move |first| first..(first + self.block).min(self.size_in))
    }

    /// Where the block of these rows and inputs lies.
    pub(super) fn place(self, pass: &Range<usize>, inputs: &Range<usize>) -> Range<usize> {
        let first = pass.start * self.size_in + inputs.start * pass.len();
        first..first + inputs.len() * pass.len()
    }
}

/// Rows that are cut; nothing, where they are read as they come.
#[derive(Debug, Default)]
pub struct Rows(Vec<f32>);

#[inline(always)]
fn transpose_body(x: &[f32], stride: usize, rows: usize, packed: &mut [f32]) {
    const { assert!(HIGH_ROWS == 8) };
    match rows {
        1 => transpose_rows::<1>(x, stride, packed),
        2 => transpose_rows::<2>(x, stride, packed),
        3 => transpose_rows::<3>(x, stride, packed),
        4 => transpose_rows::<4>(x, stride, packed),
        5 => transpose_rows::<5>(x, stride, packed),
        6 => transpose_rows::<6>(x, stride, packed),
        7 => transpose_rows::<7>(x, stride, packed),
        8 => transpose_rows::<8>(x, stride, packed),
        _ => unreachable!("a tile of {rows} rows"),
    }
}

#[inline(always)]
fn transpose_rows<const ROWS: usize>(x: &[f32], stride: usize, packed: &mut [f32]) {
    /// Inputs at a time: arrays of a known size stay in registers.
    const INPUTS: usize = 8;
    let inputs = packed.as_chunks_mut::<ROWS>().0;
    let (blocks, rest) = inputs.as_chunks_mut::<INPUTS>();
    let done = blocks.len() * INPUTS;
    for (block, inputs) in blocks.iter_mut().enumerate() {
        let mut from = [[0.0; INPUTS]; ROWS];
        for (row, from) in from.iter_mut().enumerate() {
            *from = x[row * stride + block * INPUTS..].as_chunks().0[0];
        }
        for (input, to) in inputs.iter_mut().enumerate() {
            for (row, to) in to.iter_mut().enumerate() {
                *to = from[row][input];
            }
        }
    }
    for (input, to) in rest.iter_mut().enumerate() {
        for (row, to) in to.iter_mut().enumerate() {
            *to = x[row * stride + done + input];
        }
    }
}

dispatch! {
    /// Writes rows of `x`, one every `stride`, input after input: each of all rows.
    fn transpose(
        x: &[f32],
        stride: usize,
        rows: usize,
        packed: &mut [f32],
    ) = transpose_body;
}

impl Rows {
    /// Copies `x`, `[_, size_in]`.
    pub(super) fn fill<P: ThreadPool>(
        &mut self,
        pool: &P,
        x: &[f32],
        size_in: usize,
    ) -> Result<(), P::Error> {
        let rows = x.len() / size_in;
        let cut = Cut::new(rows, size_in);
        if cut.is_low() {
            return Ok(());
        }
        if self.0.len() < x.len() {
            self.0.resize(x.len(), 0.0);
        }
        let packed = Disjoint::new(&mut self.0);
        // A pass is a multiple of a tile, so tiles can be counted through all passes.
        let tiles = rows.div_ceil(cut.tile);
        share(pool, tiles, 2, 4 * x.len(), |tiles| {
            for tile in tiles {
                let first = tile * cut.tile;
                let pass = first / cut.pass * cut.pass;
                let pass = pass..(pass + cut.pass).min(rows);
                let tile = first..(first + cut.tile).min(pass.end);
                for inputs in cut.blocks() {
                    let start =
                        cut.place(&pass, &inputs).start + (tile.start - pass.start) * inputs.len();
                    // SAFETY: a tile is written by the one thread that has it.
                    let packed = unsafe { packed.part(start..start + tile.len() * inputs.len()) };
                    let x = &x[tile.start * size_in + inputs.start..];
                    transpose(x, size_in, tile.len(), packed);
                }
            }
        })
    }

    /// The block of these rows and inputs.
    pub(super) fn block(&self, cut: Cut, pass: &Range<usize>, inputs: &Range<usize>) -> &[f32] {
        &self.0[cut.place(pass, inputs)]
    }
}
