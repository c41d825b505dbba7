//! The product on x86-64.

use std::arch::x86_64::*;

use super::layout::{BLOCK, BLOCK_BYTES, INTEGERS, MINIMA};
use super::tile::{Products, Tile};
use crate::cpu::features;
use crate::panels::{GROUP, PANEL};
use crate::simd::prefetch::{FarL1, NearL1, Prefetch};

/// Rows from which on dot products of 256 bits pay.
const MIN_AVX_VNNI_ROWS: usize = 4;
/// Bytes of integers of two groups of inputs.
const PAIR: usize = GROUP * PANEL;

pub(super) fn avx2(tile: &Tile<'_>, products: &mut Products) {
    assert!(features().avx2_fma);
    // SAFETY: the processor has AVX2, FMA and F16C, and the caller checked the tile.
    unsafe {
        by_tile!(
            avx2_tile::<NearL1>(tile, products);
            1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1 7 x 1 8 x 1
        );
    }
}

pub(super) fn avx_vnni(tile: &Tile<'_>, products: &mut Products) {
    assert!(features().avx2_fma && features().avx_vnni);
    // With few rows, reading the weights takes most of the time. Then one pass over a panel is
    // faster than two. Both kernels give the same bits.
    if tile.rows < MIN_AVX_VNNI_ROWS {
        return avx2(tile, products);
    }
    // SAFETY: the processor has AVX-VNNI, FMA and F16C, and the caller checked the tile.
    unsafe {
        by_tile!(avx_vnni_tile::<NearL1>(tile, products); 4 x 1 5 x 1 6 x 1 7 x 1 8 x 1);
    }
}

pub(super) fn avx512_vnni(tile: &Tile<'_>, products: &mut Products) {
    assert!(features().avx512_vnni);
    // SAFETY: the processor has AVX-512 with VNNI, and the caller checked the tile.
    unsafe {
        if tile.panels == 1 {
            by_tile!(
                avx512_vnni_tile::<FarL1>(tile, products);
                1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1 7 x 1 8 x 1
            );
        } else {
            by_tile!(
                avx512_vnni_tile::<NearL1>(tile, products);
                1 x 4 2 x 4 3 x 4 4 x 4
                5 x 2 6 x 2 7 x 2 8 x 2
            );
        }
    }
}

/// The integers of two groups of inputs, for one half of a block's outputs.
///
/// # Safety
///
/// The processor has the instructions, and `block` is a block.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn integers(block: *const u8, pair: usize, half: usize) -> [__m256i; 2] {
    let low = _mm256_set1_epi8(15);
    // SAFETY: the caller promises the block.
    let bytes =
        unsafe { _mm256_loadu_si256(block.add(INTEGERS + pair * PAIR + half * PAIR / 2).cast()) };
    [_mm256_and_si256(bytes, low), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low)]
}

/// The scales and minima of one half of a block's outputs.
///
/// # Safety
///
/// As for [`integers`].
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn scales_and_minima(block: *const u8, half: usize) -> [__m256; 2] {
    let halves = |first: usize| {
        // SAFETY: the caller promises the block.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(block.add(first + half * PANEL).cast())) }
    };
    [halves(0), halves(MINIMA)]
}

/// Adds the products of a block to `acc`. `sum` is the sum of the block's inputs.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn scale(acc: __m256, dots: __m256i, [scales, minima]: [__m256; 2], sum: f32) -> __m256 {
    let acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), scales, acc);
    _mm256_fmadd_ps(_mm256_set1_ps(sum), minima, acc)
}

/// # Safety
///
/// The processor has the instructions, and the tile is checked and has `MR` rows and `NR` panels.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2_tile<F: Prefetch, const MR: usize, const NR: usize>(
    tile: &Tile<'_>,
    products: &mut Products,
) {
    const { assert!(NR == 1) };
    let blocks = tile.blocks();
    let (inputs, row_sums) = (tile.activations.as_ptr(), tile.sums.as_ptr());
    let ones = _mm256_set1_epi16(1);
    let mut acc = [[_mm256_setzero_ps(); 2]; MR];
    for (index, block) in tile.weights.iter().enumerate() {
        let block = block.as_ptr();
        for half in 0..2 {
            let mut dots = [_mm256_setzero_si256(); MR];
            // SAFETY: all reads are within the block and within the inputs of each row, which are
            // `blocks` blocks. A prefetch may point anywhere.
            unsafe {
                F::fetch(block.wrapping_add(F::DISTANCE + half * 64));
                F::fetch(block.wrapping_add(F::DISTANCE + 128 + half * 64));
                for two_pairs in 0..2 {
                    // The sum of eight products fits 16 signed bits: `8 * 255 * 15 < 2^15`.
                    let mut narrow = [_mm256_setzero_si256(); MR];
                    for pair in [2 * two_pairs, 2 * two_pairs + 1] {
                        let [low_half, high_half] = integers(block, pair, half);
                        for (row, narrow) in narrow.iter_mut().enumerate() {
                            let offset = (row * blocks + index) * BLOCK + pair * 2 * GROUP;
                            let inputs = inputs.add(offset).cast::<i32>();
                            let low_sums = _mm256_maddubs_epi16(
                                _mm256_set1_epi32(inputs.read_unaligned()),
                                low_half,
                            );
                            let high_sums = _mm256_maddubs_epi16(
                                _mm256_set1_epi32(inputs.add(1).read_unaligned()),
                                high_half,
                            );
                            *narrow =
                                _mm256_add_epi16(*narrow, _mm256_add_epi16(low_sums, high_sums));
                        }
                    }
                    for (dots, narrow) in dots.iter_mut().zip(narrow) {
                        *dots = _mm256_add_epi32(*dots, _mm256_madd_epi16(narrow, ones));
                    }
                }
                let columns = scales_and_minima(block, half);
                for (row, (acc, dots)) in acc.iter_mut().zip(dots).enumerate() {
                    acc[half] =
                        scale(acc[half], dots, columns, *row_sums.add(row * blocks + index));
                }
            }
        }
    }
    for (acc, products) in acc.iter().zip(products) {
        let products = products.as_mut_ptr();
        // SAFETY: a row of products is two registers.
        unsafe {
            _mm256_storeu_ps(products, acc[0]);
            _mm256_storeu_ps(products.add(PANEL / 2), acc[1]);
        }
    }
}

/// # Safety
///
/// The processor has the instructions, and the tile is checked and has `MR` rows and `NR` panels.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
unsafe fn avx_vnni_tile<F: Prefetch, const MR: usize, const NR: usize>(
    tile: &Tile<'_>,
    products: &mut Products,
) {
    const { assert!(NR == 1) };
    let blocks = tile.blocks();
    let (inputs, row_sums) = (tile.activations.as_ptr(), tile.sums.as_ptr());
    // One half of the outputs after the other. With both in one loop, the compiler would keep the
    // inputs of all rows in registers for the second half, and there are too few registers.
    for half in 0..2 {
        let mut acc = [_mm256_setzero_ps(); MR];
        for (index, block) in tile.weights.iter().enumerate() {
            let block = block.as_ptr();
            let mut dots = [_mm256_setzero_si256(); MR];
            // SAFETY: all reads are within the block and within the inputs of each row, which are
            // `blocks` blocks. A prefetch may point anywhere.
            unsafe {
                if half == 0 {
                    F::fetch_all(block.wrapping_add(F::DISTANCE), BLOCK_BYTES);
                }
                for pair in 0..BLOCK / GROUP / 2 {
                    let [low_half, high_half] = integers(block, pair, half);
                    for (row, dots) in dots.iter_mut().enumerate() {
                        let offset = (row * blocks + index) * BLOCK + pair * 2 * GROUP;
                        let inputs = inputs.add(offset).cast::<i32>();
                        let first = _mm256_set1_epi32(inputs.read_unaligned());
                        let second = _mm256_set1_epi32(inputs.add(1).read_unaligned());
                        *dots = _mm256_dpbusd_avx_epi32(*dots, first, low_half);
                        *dots = _mm256_dpbusd_avx_epi32(*dots, second, high_half);
                    }
                }
                let columns = scales_and_minima(block, half);
                for (row, (acc, dots)) in acc.iter_mut().zip(dots).enumerate() {
                    *acc = scale(*acc, dots, columns, *row_sums.add(row * blocks + index));
                }
            }
        }
        for (acc, products) in acc.iter().zip(&mut *products) {
            let half = &mut products[half * PANEL / 2..][..PANEL / 2];
            // SAFETY: half of the products of a row are one register.
            unsafe { _mm256_storeu_ps(half.as_mut_ptr(), *acc) };
        }
    }
}

/// # Safety
///
/// The processor has the instructions, and the tile is checked and has `MR` rows and `NR` panels.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn avx512_vnni_tile<F: Prefetch, const MR: usize, const NR: usize>(
    tile: &Tile<'_>,
    products: &mut Products,
) {
    let blocks = tile.blocks();
    let (inputs, row_sums) = (tile.activations.as_ptr(), tile.sums.as_ptr());
    let low = _mm512_set1_epi8(15);
    let mut acc = [[_mm512_setzero_ps(); NR]; MR];
    for index in 0..blocks {
        for panel in 0..NR {
            let block = tile.weights[panel * blocks + index].as_ptr();
            // A dot product waits for the one before it. For a single panel there are enough
            // registers for two sums of each row.
            let second_sum = usize::from(NR == 1);
            let mut dots = [[_mm512_setzero_si512(); 2]; MR];
            // SAFETY: all reads are within the block and within the inputs of each row, which are
            // `blocks` blocks. A prefetch may point anywhere.
            unsafe {
                F::fetch_all(block.wrapping_add(F::DISTANCE), BLOCK_BYTES);
                for pair in 0..BLOCK / GROUP / 2 {
                    let bytes = _mm512_loadu_si512(block.add(INTEGERS + pair * PAIR).cast());
                    let low_half = _mm512_and_si512(bytes, low);
                    let high_half = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low);
                    for (row, dots) in dots.iter_mut().enumerate() {
                        let offset = (row * blocks + index) * BLOCK + pair * 2 * GROUP;
                        let inputs = inputs.add(offset).cast::<i32>();
                        let first = _mm512_set1_epi32(inputs.read_unaligned());
                        let second = _mm512_set1_epi32(inputs.add(1).read_unaligned());
                        dots[0] = _mm512_dpbusd_epi32(dots[0], first, low_half);
                        let dots = &mut dots[second_sum];
                        *dots = _mm512_dpbusd_epi32(*dots, second, high_half);
                    }
                }
                let halves =
                    |offset: usize| _mm512_cvtph_ps(_mm256_loadu_si256(block.add(offset).cast()));
                let (scales, minima) = (halves(0), halves(MINIMA));
                for (row, (acc, [first, second])) in acc.iter_mut().zip(dots).enumerate() {
                    let sum = _mm512_set1_ps(*row_sums.add(row * blocks + index));
                    let acc = &mut acc[panel];
                    let dots = _mm512_add_epi32(first, second);
                    *acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), scales, *acc);
                    *acc = _mm512_fmadd_ps(sum, minima, *acc);
                }
            }
        }
    }
    for (acc, products) in acc.as_flattened().iter().zip(products) {
        // SAFETY: the products of a panel are one register.
        unsafe { _mm512_storeu_ps(products.as_mut_ptr(), *acc) };
    }
}
