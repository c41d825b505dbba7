//! The product on AArch64.

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::{Sums, Tile};
use crate::operators::panels::{GROUP, PANEL};

pub(super) fn dot_product(tile: &Tile<'_>, sums: &mut Sums) {
    assert!(is_aarch64_feature_detected!("dotprod") && tile.panels == 1);
    // SAFETY: the processor has the dot products, and the caller checked the tile.
    unsafe {
        match tile.rows {
            1 => rows::<1>(tile, sums),
            2 => rows::<2>(tile, sums),
            3 => rows::<3>(tile, sums),
            4 => rows::<4>(tile, sums),
            other => panic!("a tile of {other} rows"),
        }
    }
}

/// Adds the dot products of four signed bytes each.
///
/// # Safety
///
/// The processor has the feature `dotprod`.
#[inline(always)]
unsafe fn sdot(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction on registers. (Its intrinsic is not stable.)
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// # Safety
///
/// The processor has the feature `dotprod`, the tile is as [`Tile::check`] has it, and `R` is
/// `tile.rows`, and there is one panel.
#[target_feature(enable = "neon")]
unsafe fn rows<const R: usize>(tile: &Tile<'_>, sums: &mut Sums) {
    let (inputs, panel) = (tile.activations.as_ptr(), tile.weights.as_ptr());
    // Unsigned activations are taken 128 lower, to fit a signed byte, and the weights' sums, 128
    // times, added again.
    let (sign, ones) = (vdupq_n_u8(0x80), vdupq_n_s8(1));
    let mut acc = [[vdupq_n_s32(0); 4]; R];
    let mut of_weights = [vdupq_n_s32(0); 4];
    for input in (0..tile.stride).step_by(GROUP) {
        // SAFETY: `input` stays below the stride, which is a multiple of a group and which both the
        // rows and the panel fill.
        unsafe {
            let weights: [int8x16_t; 4] =
                std::array::from_fn(|quarter| vld1q_s8(panel.add(input * PANEL + quarter * 16)));
            for (sum, weights) in of_weights.iter_mut().zip(weights) {
                *sum = sdot(*sum, weights, ones);
            }
            for (row, acc) in acc.iter_mut().enumerate() {
                let inputs = inputs.add(input * R + row * GROUP).cast::<u32>();
                let inputs = vreinterpretq_u8_u32(vdupq_n_u32(inputs.read_unaligned()));
                let inputs = vreinterpretq_s8_u8(veorq_u8(inputs, sign));
                for (acc, weights) in acc.iter_mut().zip(weights) {
                    *acc = sdot(*acc, inputs, weights);
                }
            }
        }
    }
    for (acc, sums) in acc.iter().zip(sums) {
        for quarter in 0..4 {
            let sum = vaddq_s32(acc[quarter], vshlq_n_s32::<7>(of_weights[quarter]));
            // SAFETY: a row of sums is four registers.
            unsafe { vst1q_s32(sums.as_mut_ptr().add(quarter * 4), sum) };
        }
    }
}
