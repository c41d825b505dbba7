//! Padded sizes of packed keys and values.

use crate::simd::lanes::LANES;

/// Positions of packed keys and values, padding included.
pub const fn padded_positions(positions: usize) -> usize {
    positions.next_multiple_of(LANES)
}

/// Length of a row of packed values: the size of a head, rounded up to whole vectors.
pub(super) const fn padded_head_size(size: usize) -> usize {
    size.next_multiple_of(LANES)
}
