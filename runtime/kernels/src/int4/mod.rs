//! int4 weights in blocks, each with a scale and a minimum: products with rows of unsigned
//! integers.
//!
//! A panel holds its blocks of [`BLOCK`] inputs one after the other. A block holds the scales of
//! its outputs and their minima, both float16, and then the integers, 0 to 15: `weight = scale *
//! integer + min`. Of 64 bytes of integers the low halves are one group of inputs as in
//! [`panels`](crate::panels), the high halves the next group.
//!
//! Activations are rounded as for [`int8`](crate::int8). Within a block the integers are multiplied
//! and summed exactly; the blocks' sums are added in float32, each row in the same order whatever
//! rows are beside it.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod layer;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use self::layer::Int4;
use crate::cpu::features;
use crate::int8::Instructions;
use crate::panels::{GROUP, PANEL, panels};

/// Inputs of a block.
pub const BLOCK: usize = 32;
/// Byte of a block where its minima begin, behind its scales.
pub const MINIMA: usize = 2 * PANEL;
/// Byte of a block where its integers begin.
pub const INTEGERS: usize = 4 * PANEL;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = INTEGERS + BLOCK * PANEL / 2;
/// The greatest integer.
pub const MAX_INTEGER: u8 = 15;

/// Blocks of a row of inputs.
pub const fn blocks(size_in: usize) -> usize {
    size_in.div_ceil(BLOCK)
}

/// Shape of the packed tensor of an `[size_out, size_in]` matrix.
pub const fn packed_shape(size_out: usize, size_in: usize) -> [usize; 3] {
    [panels(size_out), blocks(size_in), BLOCK_BYTES]
}

/// The byte of a block that holds the integer of an output and an input, and its shift in the byte.
pub const fn position(output: usize, input: usize) -> (usize, u32) {
    let (pair, half) = (input / (2 * GROUP), input / GROUP % 2);
    let byte = INTEGERS + (pair * PANEL + output) * GROUP + input % GROUP;
    (byte, 4 * half as u32)
}

/// Rows of a tile, at most.
const MAX_ROWS: usize = 8;
/// Panels of a tile, at most.
const MAX_PANELS: usize = 4;
/// Products of a tile, at most, in panels: rows times panels.
const MAX_PRODUCTS: usize = 16;

/// The products of a tile, before a row's scale and minimum are applied: those of row `row` and
/// panel `panel` stand at `row * panels + panel`.
type Products = [[f32; PANEL]; MAX_PRODUCTS];

/// Panels of a tile of so many rows. With few rows several panels are read at once, since memory
/// gives more to several streams, unless the processor prefetches well for one stream and there is
/// little arithmetic meanwhile.
fn panels_per_tile(instructions: Instructions, rows: usize) -> usize {
    match (instructions, rows) {
        (Instructions::Avx512Vnni, 1..=2) if features().prefetches_across_pages => 1,
        (Instructions::Avx512Vnni | Instructions::Amx, 1..=4) => MAX_PANELS,
        (Instructions::Avx512Vnni | Instructions::Amx, _) => 2,
        _ => 1,
    }
}

/// Some rows of activations and the panels they are multiplied with.
#[derive(Clone, Copy, Debug)]
struct Tile<'a> {
    /// `[rows, blocks * BLOCK]`
    activations: &'a [u8],
    /// `[rows, blocks]`: the sum of each block's activations.
    sums: &'a [f32],
    /// How many rows, 1 to [`MAX_ROWS`].
    rows: usize,
    /// `[panels, blocks]`
    weights: &'a [[u8; BLOCK_BYTES]],
    /// How many panels: [`panels_per_tile`], or 1.
    panels: usize,
}

impl Tile<'_> {
    /// Blocks of a row.
    fn blocks(&self) -> usize {
        self.weights.len() / self.panels
    }

    /// Checks everything that the unchecked kernels rely on, except for the number of panels.
    fn check(&self) {
        let blocks = self.blocks();
        assert!(
            (1..=MAX_ROWS).contains(&self.rows)
                && self.activations.len() == self.rows * blocks * BLOCK
                && self.sums.len() == self.rows * blocks
                && self.weights.len() == self.panels * blocks
                && self.rows * self.panels <= MAX_PRODUCTS,
            "1 to {MAX_ROWS} rows of as many blocks as the panels have"
        );
    }
}

/// For each row and output, the sum over the blocks of
/// `scale * Σ integer * activation + min * Σ activation`.
fn multiply(instructions: Instructions, tile: &Tile<'_>, products: &mut Products) {
    tile.check();
    match instructions {
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512Vnni | Instructions::Amx => x86_64::avx512_vnni(tile, products),
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 | Instructions::AvxVnni if features().avx2_fma => {
            x86_64::avx2(tile, products);
        }
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => aarch64::neon(tile, products),
        #[cfg(target_arch = "aarch64")]
        Instructions::DotProd => aarch64::dot_product(tile, products),
        _ => portable::multiply(tile, products),
    }
}

#[cfg(test)]
mod tests;
