//! Weights of four bits, in blocks that each have a scale and a least value.
//!
//! A panel holds its blocks of [`BLOCK`] inputs one after the other. A block holds the scales of its outputs and their
//! least values, both float16, and then the integers, 0 to 15: `weight = scale * integer + least`. Of 64 bytes of integers
//! the low halves are one group of inputs as [`panels`](super::panels) has it, the high halves the next one.
//!
//! Activations are rounded as [`int8`](super::int8)'s are. Within a block the integers are multiplied and summed exactly;
//! the blocks' sums are added in float32, each row in the same order whatever rows stand beside it.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod layer;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub(crate) use self::layer::Int4;
pub use self::layer::LINEAR;
use super::int8::Instructions;
use super::panels::{GROUP, PANEL, panels};
use crate::simd::ahead::crosses_pages;

/// Inputs of a block.
pub const BLOCK: usize = 32;
/// Where a block's least values begin, behind its scales.
pub const LEASTS: usize = 2 * PANEL;
/// Where a block's integers begin.
pub const INTEGERS: usize = 4 * PANEL;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = INTEGERS + BLOCK * PANEL / 2;
/// The greatest integer.
pub const GREATEST: u8 = 15;

/// Blocks of a row of inputs.
pub const fn blocks(size_in: usize) -> usize {
    size_in.div_ceil(BLOCK)
}

/// Shape of the packed tensor of an `[size_out, size_in]` matrix.
pub const fn packed_shape(size_out: usize, size_in: usize) -> [usize; 3] {
    [panels(size_out), blocks(size_in), BLOCK_BYTES]
}

/// Where the integer of an output and an input of a block stands: its byte, and how far it is shifted there.
pub const fn position(output: usize, input: usize) -> (usize, u32) {
    let (pair, half) = (input / (2 * GROUP), input / GROUP % 2);
    let byte = INTEGERS + (pair * PANEL + output) * GROUP + input % GROUP;
    (byte, 4 * half as u32)
}

/// Most rows of a tile.
const MOST_ROWS: usize = 8;
/// Most panels of a tile.
const MOST_PANELS: usize = 4;
/// Most products of a tile, in panels: rows times panels.
const MOST_PRODUCTS: usize = 16;

/// The products of a tile, without what a row's scale and least value add: those of row `row` and panel
/// `panel` stand at `row * panels + panel`.
type Products = [[f32; PANEL]; MOST_PRODUCTS];

/// Panels of a tile of so many rows: where there are few, several panels are read at once, since memory gives
/// more to several streams, unless the processor fetches ahead of one as well and there is little to do meanwhile.
fn panels_at_once(instructions: Instructions, rows: usize) -> usize {
    match (instructions, rows) {
        (Instructions::Avx512Vnni, 1..=2) if crosses_pages() => 1,
        (Instructions::Avx512Vnni | Instructions::Amx, 1..=4) => MOST_PANELS,
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
    /// How many rows, 1 to [`MOST_ROWS`].
    rows: usize,
    /// `[panels, blocks]`
    weights: &'a [[u8; BLOCK_BYTES]],
    /// How many panels: [`panels_at_once`], or 1.
    panels: usize,
}

impl Tile<'_> {
    /// Blocks of a row.
    fn blocks(&self) -> usize {
        self.weights.len() / self.panels
    }

    /// Everything the unchecked kernels rely on, the number of panels left aside.
    fn check(&self) {
        let blocks = self.blocks();
        assert!(
            (1..=MOST_ROWS).contains(&self.rows)
                && self.activations.len() == self.rows * blocks * BLOCK
                && self.sums.len() == self.rows * blocks
                && self.weights.len() == self.panels * blocks
                && self.rows * self.panels <= MOST_PRODUCTS,
            "1 to {MOST_ROWS} rows of as many blocks as the panels have"
        );
    }
}

/// For each row and output, the sum over the blocks of `scale * Σ integer * activation + least * Σ activation`.
fn multiply(instructions: Instructions, tile: &Tile<'_>, products: &mut Products) {
    tile.check();
    match instructions {
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512Vnni | Instructions::Amx => x86_64::avx512_vnni(tile, products),
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 | Instructions::AvxVnni if x86_64::has_avx2() => {
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
