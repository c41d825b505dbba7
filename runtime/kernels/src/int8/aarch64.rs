//! The product on AArch64.

use std::arch::aarch64::*;
use std::arch::asm;

use super::tile::{Sums, Tile};
use crate::cpu::features;
use crate::panels::{GROUP, PANEL};

pub(super) fn neon(tile: &Tile<'_>, sums: &mut Sums) {
    // SAFETY: every AArch64 has NEON, and the caller checked the tile.
    unsafe { by_tile!(tile_sums::<Widening>(tile, sums); 1 x 1 2 x 1 3 x 1 4 x 1) }
}

pub(super) fn dot_product(tile: &Tile<'_>, sums: &mut Sums) {
    assert!(features().dot_product);
    // SAFETY: the processor has the dot products, and the caller checked the tile.
    unsafe { by_tile!(tile_sums::<DotProd>(tile, sums); 1 x 1 2 x 1 3 x 1 4 x 1) }
}

/// Instructions that multiply and add signed bytes.
trait MultiplyAdd {
    /// Adds the products of every four bytes to a sum in `acc`. No weight is -128.
    ///
    /// # Safety
    ///
    /// The processor has the instructions.
    unsafe fn add(acc: int32x4_t, inputs: int8x16_t, weights: int8x16_t) -> int32x4_t;

    /// Adds every four bytes to a sum in `acc`.
    ///
    /// # Safety
    ///
    /// The processor has the instructions.
    unsafe fn add_weights(acc: int32x4_t, weights: int8x16_t) -> int32x4_t;
}

/// Widening multiplications. They add two products in 16 bits, which fit: `2 * 128 * 127 < 2^15`.
struct Widening;

impl MultiplyAdd for Widening {
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
        // SAFETY: arithmetic on registers, with the instructions that the caller promises.
        unsafe { vpadalq_s16(acc, vpaddlq_s8(weights)) }
    }
}

/// The dot products of Armv8.2, feature `dotprod`.
struct DotProd;

impl MultiplyAdd for DotProd {
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
        // SAFETY: the caller promises the instructions.
        unsafe { Self::add(acc, weights, vdupq_n_s8(1)) }
    }
}

/// # Safety
///
/// The processor has the instructions of `M`, and the tile is checked and has `MR` rows and `NR`
/// panels.
#[target_feature(enable = "neon")]
unsafe fn tile_sums<M: MultiplyAdd, const MR: usize, const NR: usize>(
    tile: &Tile<'_>,
    sums: &mut Sums,
) {
    const { assert!(NR == 1) };
    let (inputs, panel) = (tile.activations.as_ptr(), tile.weights.as_ptr());
    // Subtracting 128 from the unsigned activations makes them fit a signed byte. At the end, 128
    // times the sums of the weights are added.
    let sign = vdupq_n_u8(0x80);
    let mut acc = [[vdupq_n_s32(0); 4]; MR];
    let mut weight_sums = [vdupq_n_s32(0); 4];
    for input in (0..tile.stride).step_by(GROUP) {
        // SAFETY: `input` is below the stride, a multiple of a group, which is the length of the
        // rows and of the panel.
        unsafe {
            let mut weights = [vdupq_n_s8(0); 4];
            for (quarter, weights) in weights.iter_mut().enumerate() {
                *weights = vld1q_s8(panel.add(input * PANEL + quarter * 16));
            }
            for (sum, weights) in weight_sums.iter_mut().zip(weights) {
                *sum = M::add_weights(*sum, weights);
            }
            for (row, acc) in acc.iter_mut().enumerate() {
                let inputs = inputs.add(input * MR + row * GROUP).cast::<u32>();
                let inputs = vreinterpretq_u8_u32(vdupq_n_u32(inputs.read_unaligned()));
                let inputs = vreinterpretq_s8_u8(veorq_u8(inputs, sign));
                for (acc, weights) in acc.iter_mut().zip(weights) {
                    *acc = M::add(*acc, inputs, weights);
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
