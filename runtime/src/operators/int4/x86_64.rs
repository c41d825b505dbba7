//! The product on x86-64.

use std::arch::x86_64::*;

use super::{BLOCK, BLOCK_BYTES, INTEGERS, LEASTS, Products, Tile};
use crate::operators::panels::{GROUP, PANEL};
use crate::simd::ahead::{Ahead, ByItself, Near, crosses_pages};

/// Bytes of a panel that are fetched ahead: beyond a page's end the processor does not by itself.
const AHEAD: usize = 1536;
/// Bytes of integers of two groups of inputs.
const PAIR: usize = GROUP * PANEL;

/// Calls a kernel made for a number of rows and panels, and for a way to fetch ahead.
macro_rules! by_shape {
    ($tile:ident, $products:ident, $kernel:ident, $ahead:ident; $($rows:literal x $panels:literal)*) => {
        match ($tile.rows, $tile.panels) {
            $(($rows, $panels) => $kernel::<$ahead, $rows, $panels>($tile, $products),)*
            (rows, panels) => panic!("a tile of {rows} rows and {panels} panels"),
        }
    };
}

/// Whether [`avx2`] can be used.
pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

pub(super) fn avx2(tile: &Tile<'_>, products: &mut Products) {
    assert!(has_avx2());
    // SAFETY: the processor has AVX2, FMA and F16C, and the caller checked the tile.
    unsafe {
        by_shape!(tile, products, avx2_tile, Near; 1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1 7 x 1 8 x 1);
    }
}

pub(super) fn avx512_vnni(tile: &Tile<'_>, products: &mut Products) {
    assert!(
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
    );
    // SAFETY: the processor has AVX-512 with VNNI, and the caller checked the tile.
    unsafe {
        if crosses_pages() && tile.panels == 1 {
            by_shape!(
                tile, products, avx512_vnni_tile, ByItself;
                1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1 7 x 1 8 x 1
            );
        } else {
            by_shape!(
                tile, products, avx512_vnni_tile, Near;
                1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1 7 x 1 8 x 1
                1 x 4 2 x 4 3 x 4 4 x 4
                1 x 2 2 x 2 3 x 2 4 x 2 5 x 2 6 x 2 7 x 2 8 x 2
            );
        }
    }
}

/// # Safety
///
/// As [`Tile::check`] has it, and `R` and `P` are the tile's rows and panels, `P` being 1.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2_tile<A: Ahead, const R: usize, const P: usize>(
    tile: &Tile<'_>,
    products: &mut Products,
) {
    const { assert!(P == 1) };
    let blocks = tile.blocks();
    let (inputs, row_sums) = (tile.activations.as_ptr(), tile.sums.as_ptr());
    let (low, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let mut acc = [[_mm256_setzero_ps(); 2]; R];
    for (index, block) in tile.weights.iter().enumerate() {
        let block = block.as_ptr();
        for half in 0..2 {
            let mut dots = [_mm256_setzero_si256(); R];
            // SAFETY: all reads stay within the block, and within the inputs of each row, of which there
            // are `blocks` blocks; a prefetch may point anywhere.
            unsafe {
                A::fetch(block.wrapping_add(AHEAD + half * 64));
                A::fetch(block.wrapping_add(AHEAD + 128 + half * 64));
                for twice in 0..2 {
                    // Eight products of 255 and 15 at most, in 16 bits: 8 * 255 * 15 < 2^15.
                    let mut narrow = [_mm256_setzero_si256(); R];
                    for pair in [2 * twice, 2 * twice + 1] {
                        let bytes = block.add(INTEGERS + pair * PAIR + half * PAIR / 2);
                        let bytes = _mm256_loadu_si256(bytes.cast());
                        let near = _mm256_and_si256(bytes, low);
                        let far = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low);
                        for (row, narrow) in narrow.iter_mut().enumerate() {
                            let at = (row * blocks + index) * BLOCK + pair * 2 * GROUP;
                            let inputs = inputs.add(at).cast::<i32>();
                            let of_near = _mm256_maddubs_epi16(
                                _mm256_set1_epi32(inputs.read_unaligned()),
                                near,
                            );
                            let of_far = _mm256_maddubs_epi16(
                                _mm256_set1_epi32(inputs.add(1).read_unaligned()),
                                far,
                            );
                            *narrow = _mm256_add_epi16(*narrow, _mm256_add_epi16(of_near, of_far));
                        }
                    }
                    for (dots, narrow) in dots.iter_mut().zip(narrow) {
                        *dots = _mm256_add_epi32(*dots, _mm256_madd_epi16(narrow, ones));
                    }
                }
                let halves = |at: usize| _mm256_cvtph_ps(_mm_loadu_si128(block.add(at).cast()));
                let scales = halves(half * PANEL);
                let leasts = halves(LEASTS + half * PANEL);
                for (row, (acc, dots)) in acc.iter_mut().zip(dots).enumerate() {
                    let sum = _mm256_set1_ps(*row_sums.add(row * blocks + index));
                    acc[half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), scales, acc[half]);
                    acc[half] = _mm256_fmadd_ps(sum, leasts, acc[half]);
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
/// As [`Tile::check`] has it, and `R` and `P` are the tile's rows and panels.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn avx512_vnni_tile<A: Ahead, const R: usize, const P: usize>(
    tile: &Tile<'_>,
    products: &mut Products,
) {
    let blocks = tile.blocks();
    let (inputs, row_sums) = (tile.activations.as_ptr(), tile.sums.as_ptr());
    let low = _mm512_set1_epi8(15);
    let mut acc = [[_mm512_setzero_ps(); P]; R];
    for index in 0..blocks {
        for panel in 0..P {
            let block = tile.weights[panel * blocks + index].as_ptr();
            let mut dots = [_mm512_setzero_si512(); R];
            // SAFETY: all reads stay within the block, and within the inputs of each row, of which there
            // are `blocks` blocks; a prefetch may point anywhere.
            unsafe {
                for line in 0..BLOCK_BYTES / 64 {
                    A::fetch(block.wrapping_add(AHEAD + line * 64));
                }
                for pair in 0..BLOCK / GROUP / 2 {
                    let bytes = _mm512_loadu_si512(block.add(INTEGERS + pair * PAIR).cast());
                    let near = _mm512_and_si512(bytes, low);
                    let far = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low);
                    for (row, dots) in dots.iter_mut().enumerate() {
                        let at = (row * blocks + index) * BLOCK + pair * 2 * GROUP;
                        let inputs = inputs.add(at).cast::<i32>();
                        let first = _mm512_set1_epi32(inputs.read_unaligned());
                        let second = _mm512_set1_epi32(inputs.add(1).read_unaligned());
                        *dots = _mm512_dpbusd_epi32(*dots, first, near);
                        *dots = _mm512_dpbusd_epi32(*dots, second, far);
                    }
                }
                let halves = |at: usize| _mm512_cvtph_ps(_mm256_loadu_si256(block.add(at).cast()));
                let (scales, leasts) = (halves(0), halves(LEASTS));
                for (row, (acc, dots)) in acc.iter_mut().zip(dots).enumerate() {
                    let sum = _mm512_set1_ps(*row_sums.add(row * blocks + index));
                    let acc = &mut acc[panel];
                    *acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), scales, *acc);
                    *acc = _mm512_fmadd_ps(sum, leasts, *acc);
                }
            }
        }
    }
    for (acc, products) in acc.as_flattened().iter().zip(products) {
        // SAFETY: the products of a panel are one register.
        unsafe { _mm512_storeu_ps(products.as_mut_ptr(), *acc) };
    }
}
