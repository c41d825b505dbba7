//! The layout of packed weights: panels of blocks.

use crate::panels::{GROUP, PANEL, panels};

/// Inputs of a block.
pub const BLOCK: usize = 32;
/// Byte of a block where its minima begin, after its scales.
pub const MINIMA: usize = 2 * PANEL;
/// Byte of a block where its integers begin.
pub(super) const INTEGERS: usize = 4 * PANEL;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = INTEGERS + BLOCK * PANEL / 2;
/// The greatest integer.
pub const MAX_INTEGER: u8 = 15;

/// Blocks of a row of inputs.
pub const fn blocks(size_in: usize) -> usize {
    size_in.div_ceil(BLOCK)
}

/// Shape of the packed tensor of a `[size_out, size_in]` matrix.
pub const fn packed_shape(size_out: usize, size_in: usize) -> [usize; 3] {
    [panels(size_out), blocks(size_in), BLOCK_BYTES]
}

/// The byte of a block that holds the integer of an output and an input, and its shift in the byte.
pub const fn position(output: usize, input: usize) -> (usize, u32) {
    let (pair, half) = (input / (2 * GROUP), input / GROUP % 2);
    let byte = INTEGERS + (pair * PANEL + output) * GROUP + input % GROUP;
    (byte, 4 * half as u32)
}
