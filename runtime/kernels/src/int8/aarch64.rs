//! The product on AArch64.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{Sums, Tile};
use crate::cpu::features;
use crate::panels::{GROUP, PANEL};

pub(super) fn neon(tile: &Tile<'_>, sums: &mut Sums) {
    // SAFETY: every AArch64 has NEON, and the caller checked the tile.
    unsafe { by_tile!(tile_sums::<Widened>(tile, sums); 1 x 1 2 x 1 3 x 1 4 x 1) }
}

pub(super) fn dot_product(tile: &Tile<'_>, sums: &mut Sums) {
    assert!(features().dot_product);
    // SAFETY: the processor has the dot products, and the caller checked the tile.
    unsafe { by_tile!(tile_sums::<Dotted>(tile, sums); 1 x 1 2 x 1 3 x 1 4 x 1) }
}

/// How products of signed bytes are added.
trait Products {
    /// Adds the products of each four bytes to their sum. No weight is -128.
    ///
    /// # Safety
    ///
    /// The processor has the instructions.
    unsafe fn add(acc: int32x4_t, inputs: int8x16_t, weights: int8x16_t) -> int32x4_t;

    /// Adds each four bytes to their sum.
    ///
    /// # Safety
    ///
    /// The processor has the instructions.
    unsafe fn add_weights(acc: int32x4_t, weights: int8x16_t) -> int32x4_t;
}

/// Two products at a time in 16 bits, where they fit: `2 * 128 * 127 < 2^15`.
struct Widened;

impl Products for Widened {
    #[inline(always)]
    unsafe fn add(acc: int32x4_t, inputs: int8x16_t, weights: int8x16_t) -> int32x4_t {
        // SAFETY: arithmetic on registers, with the instructions that the caller promises.
        unsafe {
            let low = vmull_s8(vget_low_s8(inputs), vget_low_s8(weights));
            let high = vmull_high_s8(inputs, weights);
            vpadalq_s16(acc, vpaddq_s16(low, high))
        }
    }

    #[inline(always)]
    unsafe fn add_weights(acc: int32x4_t, weights: int8x16_t) -> int32x4_t {
        // SAFETY: as above.
        unsafe { vpadalq_s16(acc, vpaddlq_s8(weights)) }
    }
}

/// With the dot products of Armv8.2, the feature `dotprod`.
struct Dotted;

impl Products for Dotted {
    #[inline(always)]
    unsafe fn add(mut acc: int32x4_t, inputs: int8x16_t, weights: int8x16_t) -> int32x4_t {
        // SAFETY: one instruction on registers, which the caller promises. (Its intrinsic is not
        // stable.)
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {acc:v}.4s, {inputs:v}.16b, {weights:v}.16b",
                acc = inout(vreg) acc,
                inputs = in(vreg) inputs,
                weights = in(vreg) weights,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        acc
    }

    #[inline(always)]
    unsafe fn add_weights(acc: int32x4_t, weights: int8x16_t) -> int32x4_t {
        // SAFETY: as the caller promises.
        unsafe { Self::add(acc, weights, vdupq_n_s8(1)) }
    }
}

/// # Safety
///
/// The processor has the instructions of `P`, the tile is checked, and has `MR` rows and `NR`
/// panels.
#[target_feature(enable = "neon")]
unsafe fn tile_sums<P: Products, const MR: usize, const NR: usize>(
    tile: &Tile<'_>,
    sums: &mut Sums,
) {
    const { assert!(NR == 1) };
    let (inputs, panel) = (tile.activations.as_ptr(), tile.weights.as_ptr());
    // 128 is subtracted from the unsigned activations, so that they fit a signed byte, and 128
    // times the weights' sums are added at the end.
    let sign = vdupq_n_u8(0x80);
    let mut acc = [[vdupq_n_s32(0); 4]; MR];
    let mut weight_sums = [vdupq_n_s32(0); 4];
    for input in (0..tile.stride).step_by(GROUP) {
        // SAFETY: `input` stays below the stride, which is a multiple of a group and which both the
        // rows and the panel fill.
        unsafe {
            let mut weights = [vdupq_n_s8(0); 4];
            for (quarter, weights) in weights.iter_mut().enumerate() {
                *weights = vld1q_s8(panel.add(input * PANEL + quarter * 16));
            }
            for (sum, weights) in weight_sums.iter_mut().zip(weights) {
                *sum = P::add_weights(*sum, weights);
            }
            for (row, acc) in acc.iter_mut().enumerate() {
                let inputs = inputs.add(input * MR + row * GROUP).cast::<u32>();
                let inputs = vreinterpretq_u8_u32(vdupq_n_u32(inputs.read_unaligned()));
                let inputs = vreinterpretq_s8_u8(veorq_u8(inputs, sign));
                for (acc, weights) in acc.iter_mut().zip(weights) {
                    *acc = P::add(*acc, inputs, weights);
                }
            }
        }
    }
    for (acc, sums) in acc.iter().zip(sums) {
        for quarter in 0..4 {
            let sum = vaddq_s32(acc[quarter], vshlq_n_s32::<7>(weight_sums[quarter]));
            // SAFETY: a row of sums is four registers.
            unsafe { vst1q_s32(sums.as_mut_ptr().add(quarter * 4), sum) };
        }
    }
}
