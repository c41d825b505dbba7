use std::ops::Range;

use half::f16;
use proptest::prelude::*;

use super::tile::{MAX_PRODUCTS, MAX_ROWS};
use super::*;
use crate::panels::PANEL;

/// Panels of random blocks, random activations, and the sums of the activations.
struct Example {
    weights: Vec<[u8; BLOCK_BYTES]>,
    activations: Vec<u8>,
    sums: Vec<f32>,
    blocks: usize,
}

impl Example {
    fn new(rows: usize, panels: usize, blocks: usize, mut random: impl FnMut() -> u32) -> Self {
        let weights = (0..panels * blocks).map(|_| {
            let mut block = [0; BLOCK_BYTES];
            block.fill_with(|| random() as u8);
            for output in 0..PANEL {
                for at in [2 * output, MINIMA + 2 * output] {
                    let number = (random() % 2001) as f32 / 1000.0 - 1.0;
                    block[at..at + 2].copy_from_slice(&f16::from_f32(number).to_le_bytes());
                }
            }
            block
        });
        let weights = weights.collect();
        let activations: Vec<u8> = (0..rows * blocks * BLOCK).map(|_| random() as u8).collect();
        let sums = activations.chunks(BLOCK);
        let sums = sums.map(|block| block.iter().map(|&v| f32::from(v)).sum());
        let sums = sums.collect();
        Self { weights, activations, sums, blocks }
    }

    fn tile(&self, rows: Range<usize>, panels: Range<usize>) -> Tile<'_> {
        let blocks = self.blocks;
        let range = rows.start * blocks..rows.end * blocks;
        Tile {
            activations: &self.activations[range.start * BLOCK..range.end * BLOCK],
            sums: &self.sums[range],
            rows: rows.len(),
            weights: &self.weights[panels.start * blocks..panels.end * blocks],
            panels: panels.len(),
        }
    }

    /// The product of a row and an output of a panel, added weight by weight, and the sum of the
    /// magnitudes of its terms.
    fn exact(&self, row: usize, panel: usize, output: usize) -> (f64, f64) {
        let blocks = self.blocks;
        let (mut sum, mut magnitude) = (0.0, 0.0);
        for (index, block) in self.weights[panel * blocks..][..blocks].iter().enumerate() {
            let number = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f64();
            let (scale, min) = (number(2 * output), number(MINIMA + 2 * output));
            for input in 0..BLOCK {
                let (byte, shift) = position(output, input);
                let integer = f64::from(block[byte] >> shift & MAX_INTEGER);
                let activation =
                    f64::from(self.activations[(row * blocks + index) * BLOCK + input]);
                sum += (scale * integer + min) * activation;
                magnitude += (scale.abs() * integer + min.abs()) * activation;
            }
        }
        (sum, magnitude)
    }
}

/// The numbers of panels that an instruction set has tiles for with this many rows.
fn tile_panels(instructions: Instructions, rows: usize) -> Vec<usize> {
    match (instructions, rows) {
        (Instructions::Avx512Vnni | Instructions::Amx, ..=4) => vec![1, MAX_PANELS],
        (Instructions::Avx512Vnni | Instructions::Amx, _) => vec![1, 2],
        _ => vec![1],
    }
}

proptest! {
    #[test]
    fn every_instruction_set_agrees_with_double_precision_and_row_by_row(
        rows in 1..=MAX_ROWS,
        blocks in 1_usize..12,
        seed: u64,
    ) {
        let mut state = seed | 1;
        let example = Example::new(rows, MAX_PANELS, blocks, || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u32
        });
        for instructions in Instructions::available() {
            let counts = tile_panels(instructions, rows);
            prop_assert!(counts.contains(&panels_per_tile(instructions, rows)));
            for panels in counts {
                let mut together = [[f32::NAN; PANEL]; MAX_PRODUCTS];
                multiply(instructions, &example.tile(0..rows, 0..panels), &mut together);
                for (at, products) in together[..rows * panels].iter().enumerate() {
                    let (row, panel) = (at / panels, at % panels);
                    let mut alone = [[f32::NAN; PANEL]; MAX_PRODUCTS];
                    let tile = example.tile(row..row + 1, panel..panel + 1);
                    multiply(instructions, &tile, &mut alone);
                    prop_assert_eq!(&alone[0], products);
                    for (output, &product) in products.iter().enumerate() {
                        let (exact, magnitude) = example.exact(row, panel, output);
                        let error = (f64::from(product) - exact).abs();
                        prop_assert!(
                            error <= 1e-5 * magnitude,
                            "{instructions:?}: {product} and not {exact}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_saturates_at_the_extremes() {
    let mut block = [0xff; BLOCK_BYTES];
    for output in 0..PANEL {
        block[2 * output..][..2].copy_from_slice(&f16::ONE.to_le_bytes());
        block[MINIMA + 2 * output..][..2].copy_from_slice(&f16::ZERO.to_le_bytes());
    }
    let example = Example {
        weights: vec![block; 3],
        activations: vec![255; MAX_ROWS * 3 * BLOCK],
        sums: vec![255.0 * BLOCK as f32; MAX_ROWS * 3],
        blocks: 3,
    };
    for instructions in Instructions::available() {
        let mut products = [[0.0; PANEL]; MAX_PRODUCTS];
        multiply(instructions, &example.tile(0..MAX_ROWS, 0..1), &mut products);
        let expected = (3 * BLOCK * 255 * usize::from(MAX_INTEGER)) as f32;
        assert_eq!(products[..MAX_ROWS], [[expected; PANEL]; MAX_ROWS], "{instructions:?}");
    }
}
