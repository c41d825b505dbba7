use proptest::prelude::*;

use super::tile::{MAX_ROWS, MAX_SUMS};
use super::*;
use crate::panels::{BLOCK, MATRIX_GROUP, PANEL, position};

/// One sum of a tile, added product by product.
fn reference(tile: &Tile<'_>, row: usize, panel: usize, output: usize) -> i32 {
    (0..tile.stride)
        .map(|input| {
            let at = (input / tile.group * tile.rows + row) * tile.group + input % tile.group;
            let weights = &tile.weights[panel * tile.stride * PANEL..];
            i32::from(tile.activations[at]) * i32::from(weights[position(output, input)])
        })
        .sum()
}

/// Checks the sums of rows and panels in tiles of each instruction set's shapes, for a small and a
/// large layer.
fn check(rows: usize, stride: usize, activation_bits: u32, activations: &[u8], weights: &[i8]) {
    for instructions in Instructions::available() {
        let mut multiplier = instructions.multiplier();
        let mut shapes = [1, 1024].map(|size| instructions.tile_shape(rows, [size; 2])).to_vec();
        shapes.dedup();
        for shape in shapes {
            assert!(shape.mr <= MAX_ROWS);
            let mut panels: Vec<_> = (1..=shape.nr).map(|left| shape.next_panels(left)).collect();
            panels.dedup();
            for rows in [rows.min(shape.mr), 1 + (rows - 1) % shape.mr] {
                for &panels in &panels {
                    let tile = Tile {
                        activations: &activations[..rows * stride.next_multiple_of(shape.group)],
                        rows,
                        group: shape.group,
                        stride,
                        activation_bits,
                        weights: &weights[..panels * stride * PANEL],
                        panels,
                    };
                    let mut sums = [[-1; PANEL]; MAX_SUMS];
                    multiplier.multiply(&tile, &mut sums);
                    for (index, sums) in sums.iter().enumerate() {
                        let (row, panel) = (index / panels, index % panels);
                        for (output, &sum) in sums.iter().enumerate() {
                            let expected = match row < rows {
                                true => reference(&tile, row, panel, output),
                                false => -1,
                            };
                            assert_eq!(
                                sum, expected,
                                "{instructions:?}: row {row} of {rows}, panel {panel} of {panels}, \
                                 output {output}"
                            );
                        }
                    }
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn every_instruction_set_gives_exact_sums(
        rows in 1..=2 * MAX_ROWS,
        blocks in 1_usize..20,
        activation_bits in 1_u32..=8,
        seed: u64,
    ) {
        let mut state = seed | 1;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u32
        };
        let stride = blocks * BLOCK;
        let size = rows * stride.next_multiple_of(MATRIX_GROUP);
        let activations: Vec<u8> =
            (0..size).map(|_| (random() % (1 << activation_bits)) as u8).collect();
        let limit = i32::from(MAX_WEIGHT);
        let weights: Vec<i8> = (0..MAX_PANELS * stride * PANEL)
            .map(|_| (random() % (2 * limit as u32 + 1)) as i32 - limit)
            .map(|weight| weight as i8)
            .collect();
        check(rows, stride, activation_bits, &activations, &weights);
    }
}

#[test]
fn nothing_saturates_at_the_extremes() {
    for activation_bits in [4, 7, 8] {
        let max = ((1u32 << activation_bits) - 1) as u8;
        for weight in [-MAX_WEIGHT, MAX_WEIGHT] {
            let stride = 512_usize;
            let activations = vec![max; MAX_ROWS * stride.next_multiple_of(MATRIX_GROUP)];
            let weights = vec![weight; MAX_PANELS * stride * PANEL];
            check(MAX_ROWS, stride, activation_bits, &activations, &weights);
        }
    }
}

#[test]
#[should_panic(expected = "as long as the stride says")]
fn a_short_panel_is_noticed() {
    let tile = Tile {
        activations: &[0; 16],
        rows: 1,
        group: GROUP,
        stride: 16,
        activation_bits: 8,
        weights: &[0; 16],
        panels: 1,
    };
    Instructions::Portable.multiplier().multiply(&tile, &mut [[0; PANEL]; MAX_SUMS]);
}
