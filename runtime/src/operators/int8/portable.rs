//! The product in plain Rust: what the others must equal.

use super::{Sums, Tile};
use crate::operators::panels::{GROUP, PANEL};

pub(super) fn multiply(tile: &Tile<'_>, sums: &mut Sums) {
    let rows = tile.activations.chunks(tile.stride).take(tile.rows);
    for (row, sums) in rows.zip(sums) {
        *sums = [0; PANEL];
        for (inputs, weights) in row
            .as_chunks::<GROUP>()
            .0
            .iter()
            .zip(tile.panel.as_chunks::<{ PANEL * GROUP }>().0)
        {
            for (sum, weights) in sums.iter_mut().zip(weights.as_chunks::<GROUP>().0) {
                *sum += inputs
                    .iter()
                    .zip(weights)
                    .map(|(&input, &weight)| i32::from(input) * i32::from(weight))
                    .sum::<i32>();
            }
        }
    }
}
