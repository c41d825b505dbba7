//! Tiles: rows of activations, the panels they are multiplied with, and their sums.

use crate::panels::{BLOCK, PANEL};

/// Rows of a tile, at most.
#[cfg(any(target_arch = "x86_64", test))]
pub(super) const MAX_ROWS: usize = 32;
/// Panels of a tile, at most.
pub(super) const MAX_PANELS: usize = 4;
/// Sums of a tile, at most, in panels: rows times panels.
pub(super) const MAX_SUMS: usize = 64;

/// The sums of a tile, one for each output of a panel. Element `row * panels + panel` holds the
/// sums of one row and one panel.
pub(super) type Sums = [[i32; PANEL]; MAX_SUMS];

/// How rows and panels are cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TileShape {
    /// Rows of a tile; the last tile may have fewer.
    pub(super) mr: usize,
    /// Panels of a tile; where fewer are left, tiles have two or one.
    pub(super) nr: usize,
    /// Inputs of a row that lie side by side: `GROUP` or `MATRIX_GROUP`.
    pub(super) group: usize,
    /// Whether the panels are read one after the other, as a single stream from memory.
    pub(super) one_stream: bool,
}

impl TileShape {
    /// Panels of the next tile, if `left` panels are left, at least one.
    pub(super) fn next_panels(self, left: usize) -> usize {
        match left {
            _ if left >= self.nr => self.nr,
            1 => 1,
            _ => 2,
        }
    }
}

/// Some rows of activations and the panels they are multiplied with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile<'a> {
    /// The inputs of all rows, `rows * stride.next_multiple_of(group)` bytes: the first group of
    /// every row in turn, then the second group of every row, and so on. Bytes that only fill the
    /// last group may have any value, since their weights are zero.
    pub(super) activations: &'a [u8],
    /// Number of rows.
    pub(super) rows: usize,
    /// Inputs of a group, as in [`TileShape`].
    pub(super) group: usize,
    /// Inputs of an output: a multiple of [`BLOCK`].
    pub(super) stride: usize,
    /// Bits of an activation, 8 at most.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only AVX2 reads it"))]
    pub(super) activation_bits: u32,
    /// `panels * stride * PANEL` weights of magnitudes up to `MAX_WEIGHT`.
    pub(super) weights: &'a [i8],
    /// Number of panels.
    pub(super) panels: usize,
}

impl Tile<'_> {
    /// Checks everything that the unchecked kernels rely on, except for the numbers of rows and
    /// panels.
    pub(super) fn check(&self) {
        let padded = self.stride.checked_next_multiple_of(self.group);
        let panel = self.stride.checked_mul(PANEL);
        assert!(
            self.stride > 0
                && self.stride.is_multiple_of(BLOCK)
                && padded.and_then(|row| row.checked_mul(self.rows))
                    == Some(self.activations.len())
                && panel.and_then(|panel| panel.checked_mul(self.panels))
                    == Some(self.weights.len()),
            "rows and panels as long as the stride says"
        );
    }
}
