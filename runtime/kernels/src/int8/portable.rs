//! The product in plain Rust. The other kernels must give the same sums.

use super::tile::{Sums, Tile};
use crate::panels::{GROUP, PANEL};

pub(super) fn multiply(tile: &Tile<'_>, sums: &mut Sums) {
    let panels = tile.weights.chunks_exact(tile.stride * PANEL);
    for (panel, weights) in panels.enumerate() {
        for row in 0..tile.rows {
            let sums = &mut sums[row * tile.panels + panel];
            *sums = [0; PANEL];
            let inputs = tile.activations.as_chunks::<GROUP>().0;
            let groups = weights.as_chunks::<{ PANEL * GROUP }>().0;
            for (inputs, weights) in inputs[row..].iter().step_by(tile.rows).zip(groups) {
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
}
