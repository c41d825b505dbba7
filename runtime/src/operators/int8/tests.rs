use proptest::prelude::*;

use super::*;
use crate::operators::panels::{BLOCK, position};

/// The tile's sums, one product at a time.
fn reference(tile: &Tile<'_>, row: usize, output: usize) -> i32 {
    (0..tile.stride)
        .map(|input| {
            let activation = i32::from(tile.activations[row * tile.stride + input]);
            activation * i32::from(tile.panel[position(output, input)])
        })
        .sum()
}

fn check(tile: &Tile<'_>) {
    for instructions in Instructions::available() {
        let mut sums = [[-1; PANEL]; TILE];
        instructions.multiply(tile, &mut sums);
        for (row, sums) in sums.iter().enumerate() {
            for (output, &sum) in sums.iter().enumerate() {
                let expected = match row < tile.rows {
                    true => reference(tile, row, output),
                    false => -1,
                };
                assert_eq!(
                    sum, expected,
                    "{instructions:?}: row {row}, output {output}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn every_instruction_set_gives_exact_sums(
        rows in 1..=TILE,
        blocks in 1_usize..20,
        activation_bits in 1_u32..=8,
        weight_bits in 2_u32..=8,
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
        let activations: Vec<u8> = (0..rows * stride)
            .map(|_| (random() % (1 << activation_bits)) as u8)
            .collect();
        let limit = i32::from(weight_limit(weight_bits));
        let panel: Vec<i8> = (0..stride * PANEL)
            .map(|_| (random() % (2 * limit as u32 + 1)) as i32 - limit)
            .map(|weight| weight as i8)
            .collect();
        let bits = activation_bits + weight_bits;
        check(&Tile { activations: &activations, rows, stride, bits, panel: &panel });
    }
}

#[test]
fn nothing_saturates_at_the_extremes() {
    for (activation_bits, weight_bits) in [(7, 7), (7, 8), (8, 7), (8, 8), (4, 8), (8, 4)] {
        let most = ((1u32 << activation_bits) - 1) as u8;
        let limit = weight_limit(weight_bits);
        for weight in [-limit, limit] {
            let stride = 512;
            let activations = vec![most; TILE * stride];
            let panel = vec![weight; stride * PANEL];
            check(&Tile {
                activations: &activations,
                rows: TILE,
                stride,
                bits: activation_bits + weight_bits,
                panel: &panel,
            });
        }
    }
}

#[test]
#[should_panic(expected = "as long as the stride says")]
fn a_short_panel_is_noticed() {
    let tile = Tile {
        activations: &[0; 16],
        rows: 1,
        stride: 16,
        bits: 16,
        panel: &[0; 16],
    };
    Instructions::Portable.multiply(&tile, &mut [[0; PANEL]; TILE]);
}
