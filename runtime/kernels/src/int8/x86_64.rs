//! The product on x86-64.

use std::arch::x86_64::*;

use super::tile::{MAX_PANELS, Sums, Tile};
use crate::cpu::features;
use crate::panels::{BLOCK, GROUP, PANEL};
use crate::simd::prefetch::{FarL1, L1, L2, NearL1, NoPrefetch, Prefetch};

/// Bits of an activation up to which two products fit 16 bits.
const MAX_PAIRED_BITS: u32 = 7;

pub(super) fn avx2(tile: &Tile<'_>, sums: &mut Sums) {
    assert!(features().avx2);
    // SAFETY: the processor has AVX2, and the caller checked the tile.
    unsafe {
        match tile.activation_bits {
            0..=MAX_PAIRED_BITS => {
                by_tile!(avx2_paired::<NearL1>(tile, sums); 1 x 1 2 x 1 3 x 1 4 x 1);
            }
            _ => by_tile!(avx2_widened::<NearL1>(tile, sums); 1 x 1 2 x 1 3 x 1 4 x 1),
        }
    }
}

pub(super) fn avx_vnni(tile: &Tile<'_>, sums: &mut Sums) {
    assert!(features().avx_vnni);
    // SAFETY: the processor has AVX-VNNI, and the caller checked the tile.
    unsafe {
        by_tile!(
            avx_vnni_tile::<NearL1>(tile, sums);
            1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1
            1 x 2 2 x 2 3 x 2
        );
    }
}

pub(super) fn avx512_vnni(tile: &Tile<'_>, sums: &mut Sums) {
    assert!(features().avx512_vnni);
    // SAFETY: the processor has AVX-512 with VNNI, and the caller checked the tile.
    unsafe {
        // `simd::prefetch` says which prefetch is for which processor and which tile.
        match (features().prefetches_across_pages, tile.panels, tile.rows) {
            (true, 1, 1..=2) => by_tile!(avx512_vnni_tile::<NoPrefetch>(tile, sums); 1 x 1 2 x 1),
            (_, 1, _) => by_tile!(
                avx512_vnni_tile::<FarL1>(tile, sums);
                1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1 7 x 1 8 x 1 9 x 1 10 x 1 11 x 1 12 x 1
                13 x 1 14 x 1 15 x 1 16 x 1 17 x 1 18 x 1 19 x 1 20 x 1 21 x 1 22 x 1 23 x 1 24 x 1
            ),
            (_, 4, _) => by_tile!(
                avx512_vnni_tile::<L1>(tile, sums); 1 x 4 2 x 4 3 x 4 4 x 4 5 x 4 6 x 4
            ),
            (true, ..) => by_tile!(
                avx512_vnni_tile::<L2>(tile, sums);
                1 x 2 2 x 2 3 x 2 4 x 2 5 x 2 6 x 2 7 x 2 8 x 2 9 x 2 10 x 2 11 x 2 12 x 2
            ),
            (false, ..) => by_tile!(
                avx512_vnni_tile::<L1>(tile, sums);
                1 x 2 2 x 2 3 x 2 4 x 2 5 x 2 6 x 2 7 x 2 8 x 2 9 x 2 10 x 2 11 x 2 12 x 2
            ),
        }
    }
}

/// Multiplies both factors as 16-bit integers. Even and odd bytes are widened separately, which
/// needs no shuffles.
///
/// # Safety
///
/// The processor has the instructions, and the tile is checked and has `MR` rows and `NR` panels.
#[target_feature(enable = "avx2")]
unsafe fn avx2_widened<F: Prefetch, const MR: usize, const NR: usize>(
    tile: &Tile<'_>,
    sums: &mut Sums,
) {
    const { assert!(NR == 1) };
    let (inputs, panel) = (tile.activations.as_ptr(), tile.weights.as_ptr());
    let low_bytes = _mm256_set1_epi16(0xff);
    let mut acc = [[_mm256_setzero_si256(); 2]; MR];
    for input in (0..tile.stride).step_by(GROUP) {
        // SAFETY: `input` is below the stride, a multiple of a group, which is the length of the
        // rows and of the panel. A prefetch may point anywhere.
        unsafe {
            let weights = panel.add(input * PANEL);
            F::fetch(weights.wrapping_add(F::DISTANCE));
            let weights = weights.cast::<__m256i>();
            let inputs = inputs.add(input * MR).cast::<i32>();
            for half in 0..2 {
                let weights = _mm256_loadu_si256(weights.add(half));
                let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights));
                let odd = _mm256_srai_epi16::<8>(weights);
                for (row, acc) in acc.iter_mut().enumerate() {
                    let inputs = _mm256_set1_epi32(inputs.add(row).read_unaligned());
                    let even_sums = _mm256_madd_epi16(_mm256_and_si256(inputs, low_bytes), even);
                    let odd_sums = _mm256_madd_epi16(_mm256_srli_epi16::<8>(inputs), odd);
                    acc[half] = _mm256_add_epi32(acc[half], _mm256_add_epi32(even_sums, odd_sums));
                }
            }
        }
    }
    store_halves(&acc, sums);
}

/// Adds pairs of products in 16 bits. The sum of two products must fit.
///
/// # Safety
///
/// The processor has the instructions, and the tile is checked and has `MR` rows and `NR` panels.
#[target_feature(enable = "avx2")]
unsafe fn avx2_paired<F: Prefetch, const MR: usize, const NR: usize>(
    tile: &Tile<'_>,
    sums: &mut Sums,
) {
    const { assert!(NR == 1) };
    let (inputs, panel) = (tile.activations.as_ptr(), tile.weights.as_ptr());
    let ones = _mm256_set1_epi16(1);
    let mut acc = [[_mm256_setzero_si256(); 2]; MR];
    for input in (0..tile.stride).step_by(BLOCK) {
        // SAFETY: `input` is below the stride, a multiple of a block, which is the length of the
        // rows and of the panel. A prefetch may point anywhere.
        unsafe {
            let weights = panel.add(input * PANEL);
            F::fetch(weights.wrapping_add(F::DISTANCE));
            F::fetch(weights.wrapping_add(F::DISTANCE + 64));
            let weights = weights.cast::<__m256i>();
            let first = [_mm256_loadu_si256(weights), _mm256_loadu_si256(weights.add(1))];
            let second = [_mm256_loadu_si256(weights.add(2)), _mm256_loadu_si256(weights.add(3))];
            let inputs = inputs.add(input * MR).cast::<i32>();
            for (row, acc) in acc.iter_mut().enumerate() {
                let first_inputs = _mm256_set1_epi32(inputs.add(row).read_unaligned());
                let second_inputs = _mm256_set1_epi32(inputs.add(MR + row).read_unaligned());
                for half in 0..2 {
                    let first_pairs = _mm256_maddubs_epi16(first_inputs, first[half]);
                    let second_pairs = _mm256_maddubs_epi16(second_inputs, second[half]);
                    let first_sum = _mm256_madd_epi16(first_pairs, ones);
                    let second_sum = _mm256_madd_epi16(second_pairs, ones);
                    let both = _mm256_add_epi32(first_sum, second_sum);
                    acc[half] = _mm256_add_epi32(acc[half], both);
                }
            }
        }
    }
    store_halves(&acc, sums);
}

/// # Safety
///
/// The processor has the instructions, and the tile is checked and has `MR` rows and `NR` panels.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn avx_vnni_tile<F: Prefetch, const MR: usize, const NR: usize>(
    tile: &Tile<'_>,
    sums: &mut Sums,
) {
    let (inputs, panels) = (tile.activations.as_ptr(), tile.weights.as_ptr());
    let mut acc = [[[_mm256_setzero_si256(); 2]; NR]; MR];
    for input in (0..tile.stride).step_by(GROUP) {
        // SAFETY: `input` is below the stride, a multiple of a group, which is the length of the
        // rows and of the panels. A prefetch may point anywhere.
        unsafe {
            let mut weights = [[_mm256_setzero_si256(); 2]; NR];
            for (panel, weights) in weights.iter_mut().enumerate() {
                let address = panels.add((panel * tile.stride + input) * PANEL);
                F::fetch(address.wrapping_add(F::DISTANCE));
                let address = address.cast::<__m256i>();
                *weights = [_mm256_loadu_si256(address), _mm256_loadu_si256(address.add(1))];
            }
            let inputs = inputs.add(input * MR).cast::<i32>();
            for (row, acc) in acc.iter_mut().enumerate() {
                let inputs = _mm256_set1_epi32(inputs.add(row).read_unaligned());
                for (acc, weights) in acc.iter_mut().zip(weights) {
                    for (acc, weights) in acc.iter_mut().zip(weights) {
                        *acc = _mm256_dpbusd_avx_epi32(*acc, inputs, weights);
                    }
                }
            }
        }
    }
    store_halves(acc.as_flattened(), sums);
}

/// # Safety
///
/// The processor has the instructions, and the tile is checked and has `MR` rows and `NR` panels.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn avx512_vnni_tile<F: Prefetch, const MR: usize, const NR: usize>(
    tile: &Tile<'_>,
    sums: &mut Sums,
) {
    const { assert!(NR <= MAX_PANELS && F::DISTANCE.is_multiple_of(GROUP * PANEL)) };
    let (inputs, panels) = (tile.activations.as_ptr(), tile.weights.as_ptr());
    let mut acc = [[_mm512_setzero_si512(); NR]; MR];
    // Near the panels' end, the beginning of the next tile's panels is prefetched.
    let panel_size = tile.stride * PANEL;
    let near_end = tile.stride.saturating_sub(F::DISTANCE / PANEL);
    for (range, distance) in
        [(0..near_end, F::DISTANCE), (near_end..tile.stride, F::DISTANCE + (NR - 1) * panel_size)]
    {
        for input in range.step_by(GROUP) {
            // SAFETY: `input` is below the stride, which is the length of the rows and of the
            // panels. Both are multiples of a group, since the assertion says so of the distance.
            // A prefetch may point anywhere.
            unsafe {
                let mut weights = [_mm512_setzero_si512(); NR];
                for (panel, weights) in weights.iter_mut().enumerate() {
                    let address = panels.add(panel * panel_size + input * PANEL);
                    F::fetch(address.wrapping_add(distance));
                    *weights = _mm512_loadu_si512(address.cast());
                }
                let inputs = inputs.add(input * MR).cast::<i32>();
                for (row, acc) in acc.iter_mut().enumerate() {
                    let inputs = _mm512_set1_epi32(inputs.add(row).read_unaligned());
                    for (acc, weights) in acc.iter_mut().zip(weights) {
                        *acc = _mm512_dpbusd_epi32(*acc, inputs, weights);
                    }
                }
            }
        }
    }
    for (acc, sums) in acc.as_flattened().iter().zip(sums) {
        // SAFETY: the sums of a panel are one register.
        unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), *acc) };
    }
}

#[target_feature(enable = "avx2")]
fn store_halves(acc: &[[__m256i; 2]], sums: &mut Sums) {
    for (acc, sums) in acc.iter().zip(sums) {
        let sums = sums.as_mut_ptr().cast::<__m256i>();
        // SAFETY: the sums of a panel are two registers.
        unsafe {
            _mm256_storeu_si256(sums, acc[0]);
            _mm256_storeu_si256(sums.add(1), acc[1]);
        }
    }
}
