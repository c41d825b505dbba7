//! Tiles: rows of activations, the panels they are multiplied with, and their products.

use super::layout::{BLOCK, BLOCK_BYTES};
use crate::panels::PANEL;

/// Rows of a tile, at most.
pub(super) const MAX_ROWS: usize = 8;
/// Panels of a tile, at most.
pub(super) const MAX_PANELS: usize = 4;
/// Products of a tile, at most, in panels: rows times panels.
pub(super) const MAX_PRODUCTS: usize = 16;

/// The products of a tile, before the scale and the minimum of their rows are applied. Element
/// `row * panels + panel` holds the products of one row and one panel.
pub(super) type Products = [[f32; PANEL]; MAX_PRODUCTS];

/// Some rows of activations and the panels they are multiplied with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile<'a> {
    /// Rounded activations: `[rows, blocks * BLOCK]`.
    pub(super) activations: &'a [u8],
    /// Sum of the activations of each block: `[rows, blocks]`.
    pub(super) sums: &'a [f32],
    /// Number of rows, 1 to [`MAX_ROWS`].
    pub(super) rows: usize,
    /// Packed weights: `[panels, blocks]`.
    pub(super) weights: &'a [[u8; BLOCK_BYTES]],
    /// Number of panels: [`panels_per_tile`](super::panels_per_tile), or 1.
    pub(super) panels: usize,
}

impl Tile<'_> {
    /// Blocks of a row.
    pub(super) fn blocks(&self) -> usize {
        self.weights.len() / self.panels
    }

    /// Checks everything that the unchecked kernels rely on, except for the number of panels.
    pub(super) fn check(&self) {
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
