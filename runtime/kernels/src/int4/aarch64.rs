//! The product on AArch64.

use std::arch::aarch64::*;
use std::arch::asm;

use super::layout::{BLOCK, INTEGERS, MAX_INTEGER, MINIMA};
use super::tile::{Products, Tile};
use crate::cpu::features;
use crate::panels::{GROUP, PANEL};

/// Bytes of integers of two groups of inputs.
const PAIR: usize = GROUP * PANEL;
/// Bytes of a register.
const REGISTER: usize = 16;
/// Registers of 32-bit numbers for the outputs of a panel.
const QUARTERS: usize = 4;

pub(super) fn neon(tile: &Tile<'_>, products: &mut Products) {
    // SAFETY: every AArch64 has NEON, and the caller checked the tile.
    unsafe {
        by_tile!(
            tile_products::<Widening>(tile, products);
            1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1 7 x 1 8 x 1
        );
    }
}

pub(super) fn dot_product(tile: &Tile<'_>, products: &mut Products) {
    assert!(features().dot_product);
    // SAFETY: the processor has the dot products, and the caller checked the tile.
    unsafe {
        by_tile!(
            tile_products::<DotProd>(tile, products);
            1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1 7 x 1 8 x 1
        );
    }
}

/// Sums of the products of the integers of a block and the inputs of a row, for a quarter of the
/// outputs.
trait Dots: Copy {
    /// Sums of zero.
    ///
    /// # Safety
    ///
    /// The processor has the instructions.
    unsafe fn zero() -> Self;

    /// Adds the products of a group: the integers of four outputs times the four inputs in a lane.
    /// Each group of a block is added once.
    ///
    /// # Safety
    ///
    /// The processor has the instructions.
    unsafe fn add<const LANE: i32>(self, integers: uint8x16_t, inputs: uint8x16_t) -> Self;

    /// The sum of each output.
    ///
    /// # Safety
    ///
    /// The processor has the instructions.
    unsafe fn sums(self) -> uint32x4_t;
}

/// Widening multiplications. They add one product of each group of a block in 16 bits, which fit:
/// `8 * 255 * 15 < 2^16`. An output has four sums side by side.
#[derive(Clone, Copy)]
struct Widening([uint16x8_t; 2]);

impl Dots for Widening {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: a register is set, with the instructions that the caller promises.
        Self([unsafe { vdupq_n_u16(0) }; 2])
    }

    #[inline(always)]
    unsafe fn add<const LANE: i32>(self, integers: uint8x16_t, inputs: uint8x16_t) -> Self {
        const { assert!(BLOCK / GROUP * 255 * MAX_INTEGER as usize <= u16::MAX as usize) };
        // SAFETY: arithmetic on registers, with the instructions that the caller promises.
        unsafe {
            let inputs = vdupq_laneq_u32::<LANE>(vreinterpretq_u32_u8(inputs));
            let inputs = vreinterpretq_u8_u32(inputs);
            Self([
                vmlal_u8(self.0[0], vget_low_u8(integers), vget_low_u8(inputs)),
                vmlal_high_u8(self.0[1], integers, inputs),
            ])
        }
    }

    #[inline(always)]
    unsafe fn sums(self) -> uint32x4_t {
        // SAFETY: arithmetic on registers, with the instructions that the caller promises.
        unsafe { vpaddq_u32(vpaddlq_u16(self.0[0]), vpaddlq_u16(self.0[1])) }
    }
}

/// The dot products of Armv8.2, feature `dotprod`.
#[derive(Clone, Copy)]
struct DotProd(uint32x4_t);

impl Dots for DotProd {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: a register is set, with the instructions that the caller promises.
        Self(unsafe { vdupq_n_u32(0) })
    }

    #[inline(always)]
    unsafe fn add<const LANE: i32>(self, integers: uint8x16_t, inputs: uint8x16_t) -> Self {
        const { assert!(LANE >= 0 && LANE < 4) };
        let mut sums = self.0;
        // SAFETY: one instruction on registers, which the caller promises. (Its intrinsic is not
        // stable.)
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "udot {sums:v}.4s, {integers:v}.16b, {inputs:v}.4b[{lane}]",
                sums = inout(vreg) sums,
                integers = in(vreg) integers,
                inputs = in(vreg) inputs,
                lane = const LANE,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        Self(sums)
    }

    #[inline(always)]
    unsafe fn sums(self) -> uint32x4_t {
        self.0
    }
}

/// # Safety
///
/// The processor has the instructions of `D`, and the tile is checked and has `MR` rows and `NR`
/// panels.
#[target_feature(enable = "neon")]
unsafe fn tile_products<D: Dots, const MR: usize, const NR: usize>(
    tile: &Tile<'_>,
    products: &mut Products,
) {
    const { assert!(NR == 1) };
    let blocks = tile.blocks();
    let (inputs, row_sums) = (tile.activations.as_ptr(), tile.sums.as_ptr());
    let low = vdupq_n_u8(MAX_INTEGER);
    let mut acc = [[vdupq_n_f32(0.0); QUARTERS]; MR];
    for (index, block) in tile.weights.iter().enumerate() {
        let block = block.as_ptr();
        // SAFETY: all reads are within the block and within the inputs of each row, which are
        // `blocks` blocks.
        unsafe {
            let mut row_inputs = [[low; BLOCK / REGISTER]; MR];
            for (row, registers) in row_inputs.iter_mut().enumerate() {
                let inputs = inputs.add((row * blocks + index) * BLOCK);
                *registers = [vld1q_u8(inputs), vld1q_u8(inputs.add(REGISTER))];
            }
            for quarter in 0..QUARTERS {
                let mut dots = [D::zero(); MR];
                for half in 0..BLOCK / REGISTER {
                    // A register of inputs is two pairs of groups.
                    let bytes = block.add(INTEGERS + 2 * half * PAIR + quarter * REGISTER);
                    let (first, second) = (vld1q_u8(bytes), vld1q_u8(bytes.add(PAIR)));
                    for (dots, registers) in dots.iter_mut().zip(&row_inputs) {
                        let inputs = registers[half];
                        *dots = dots
                            .add::<0>(vandq_u8(first, low), inputs)
                            .add::<1>(vshrq_n_u8::<4>(first), inputs)
                            .add::<2>(vandq_u8(second, low), inputs)
                            .add::<3>(vshrq_n_u8::<4>(second), inputs);
                    }
                }
                let halves = |at: usize| {
                    let halves = vld1_u8(block.add(at + quarter * REGISTER / 2));
                    vcvt_f32_f16(vreinterpret_f16_u8(halves))
                };
                let (scales, minima) = (halves(0), halves(MINIMA));
                for (row, (acc, dots)) in acc.iter_mut().zip(dots).enumerate() {
                    let sum = *row_sums.add(row * blocks + index);
                    let acc = &mut acc[quarter];
                    *acc = vfmaq_f32(*acc, vcvtq_f32_u32(dots.sums()), scales);
                    *acc = vfmaq_n_f32(*acc, minima, sum);
                }
            }
        }
    }
    for (acc, products) in acc.iter().zip(products) {
        for (quarter, &acc) in acc.iter().enumerate() {
            // SAFETY: a row of products is four registers.
            unsafe { vst1q_f32(products.as_mut_ptr().add(quarter * PANEL / QUARTERS), acc) };
        }
    }
}
