//! int4 weights in blocks, each with a scale and a minimum: products with rows of unsigned
//! integers.
//!
//! A panel holds its blocks of [`BLOCK`] inputs one after the other. A block holds the scales of
//! its outputs, their minima, both float16, and then the integers, 0 to 15:
//! `weight = scale * integer + min`. In each 64 bytes of integers, the low halves of the bytes are
//! one group of inputs, as in [`panels`](crate::panels), and the high halves are the next group.
//!
//! Activations are rounded as for [`int8`](crate::int8). Within a block the integers are multiplied
//! and summed exactly. The sums of the blocks are added in float32. The order of the additions of a
//! row does not depend on other rows.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod layer;
mod layout;
mod portable;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use self::layer::Int4;
pub use self::layout::{BLOCK, BLOCK_BYTES, MAX_INTEGER, MINIMA, blocks, packed_shape, position};
use self::tile::{MAX_PANELS, MAX_ROWS, Products, Tile};
use crate::cpu::features;
use crate::int8::Instructions;

/// Panels of a tile, if the product has this many rows. With the rows of one tile, several panels
/// are read at once, since several streams from memory are faster than one. With more rows a panel
/// stays in a cache, and one panel at a time leaves enough registers. A processor that prefetches
/// across pages always reads one panel.
fn panels_per_tile(instructions: Instructions, rows: usize) -> usize {
    match (instructions, rows) {
        (Instructions::Avx512Vnni, _) if features().prefetches_across_pages => 1,
        (Instructions::Avx512Vnni | Instructions::Amx, 1..=4) => MAX_PANELS,
        (Instructions::Avx512Vnni | Instructions::Amx, ..=MAX_ROWS) => 2,
        _ => 1,
    }
}

/// Computes, for each row and output, the sum over the blocks of
/// `scale * Σ integer * activation + min * Σ activation`.
fn multiply(instructions: Instructions, tile: &Tile<'_>, products: &mut Products) {
    tile.check();
    match instructions {
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512Vnni | Instructions::Amx => x86_64::avx512_vnni(tile, products),
        #[cfg(target_arch = "x86_64")]
        Instructions::AvxVnni if features().avx2_fma => x86_64::avx_vnni(tile, products),
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 if features().avx2_fma => x86_64::avx2(tile, products),
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => aarch64::neon(tile, products),
        #[cfg(target_arch = "aarch64")]
        Instructions::DotProd => aarch64::dot_product(tile, products),
        _ => portable::multiply(tile, products),
    }
}

#[cfg(test)]
mod tests;
