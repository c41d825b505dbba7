//! The product in plain Rust. The other kernels must give the same products, apart from rounding.

use half::f16;

use super::layout::{BLOCK, BLOCK_BYTES, INTEGERS, MAX_INTEGER, MINIMA};
use super::tile::{Products, Tile};
use crate::panels::{GROUP, PANEL};

pub(super) fn multiply(tile: &Tile<'_>, products: &mut Products) {
    let blocks = tile.blocks();
    for row in 0..tile.rows {
        let inputs = &tile.activations[row * blocks * BLOCK..][..blocks * BLOCK];
        let sums = &tile.sums[row * blocks..][..blocks];
        for (panel, weights) in tile.weights.chunks(blocks).enumerate() {
            products[row * tile.panels + panel] = multiply_panel(inputs, sums, weights);
        }
    }
}

fn multiply_panel(inputs: &[u8], sums: &[f32], panel: &[[u8; BLOCK_BYTES]]) -> [f32; PANEL] {
    let mut products = [0.0; PANEL];
    let blocks = inputs.as_chunks::<BLOCK>().0.iter().zip(panel).zip(sums);
    for ((inputs, block), sum) in blocks {
        let mut dots = [0; PANEL];
        let pairs = block[INTEGERS..].as_chunks::<{ GROUP * PANEL }>().0;
        for (inputs, pair) in inputs.as_chunks::<{ 2 * GROUP }>().0.iter().zip(pairs) {
            for (dot, bytes) in dots.iter_mut().zip(pair.as_chunks::<GROUP>().0) {
                for (at, byte) in bytes.iter().enumerate() {
                    *dot += i32::from(inputs[at]) * i32::from(byte & MAX_INTEGER)
                        + i32::from(inputs[GROUP + at]) * i32::from(byte >> 4);
                }
            }
        }
        for (output, (product, dot)) in products.iter_mut().zip(dots).enumerate() {
            let number = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
            let (scale, min) = (number(2 * output), number(MINIMA + 2 * output));
            *product += dot as f32 * scale;
            *product += sum * min;
        }
    }
    products
}
