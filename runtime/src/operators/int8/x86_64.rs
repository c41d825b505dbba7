//! The product on x86-64.

use std::arch::x86_64::*;

use super::{FOUR_FIT, Sums, TILE, TWO_FIT, Tile};
use crate::operators::panels::{BLOCK, GROUP, PANEL};

/// Bytes of a panel that are fetched ahead: beyond a page's end the processor does not by itself.
const AHEAD: usize = 1536;

/// Calls a kernel made for a number of rows.
macro_rules! by_rows {
    ($tile:ident, $sums:ident, $kernel:ident $(, $constant:literal)*) => {
        match $tile.rows {
            1 => $kernel::<1 $(, $constant)*>($tile, $sums),
            2 => $kernel::<2 $(, $constant)*>($tile, $sums),
            3 => $kernel::<3 $(, $constant)*>($tile, $sums),
            _ => $kernel::<TILE $(, $constant)*>($tile, $sums),
        }
    };
}

pub(super) fn avx2(tile: &Tile<'_>, sums: &mut Sums) {
    assert!(is_x86_feature_detected!("avx2"));
    // SAFETY: the processor has AVX2, and the caller checked the tile.
    unsafe {
        match tile.bits {
            0..=FOUR_FIT => by_rows!(tile, sums, avx2_rows, true),
            TWO_FIT => by_rows!(tile, sums, avx2_rows, false),
            _ => by_rows!(tile, sums, avx2_wide_rows),
        }
    }
}

pub(super) fn avx_vnni(tile: &Tile<'_>, sums: &mut Sums) {
    assert!(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni"));
    // SAFETY: the processor has AVX-VNNI, and the caller checked the tile.
    unsafe { by_rows!(tile, sums, avx_vnni_rows) }
}

pub(super) fn avx512_vnni(tile: &Tile<'_>, sums: &mut Sums) {
    assert!(
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
    );
    // SAFETY: the processor has AVX-512 with VNNI, and the caller checked the tile.
    unsafe { by_rows!(tile, sums, avx512_vnni_rows) }
}

/// # Safety
///
/// As [`Tile::check`] has it, and `R` is `tile.rows`.
#[target_feature(enable = "avx2")]
unsafe fn avx2_rows<const R: usize, const NARROW: bool>(tile: &Tile<'_>, sums: &mut Sums) {
    let (inputs, panel) = (tile.activations.as_ptr(), tile.panel.as_ptr());
    let ones = _mm256_set1_epi16(1);
    let mut acc = [[_mm256_setzero_si256(); 2]; R];
    for input in (0..tile.stride).step_by(BLOCK) {
        // SAFETY: `input` stays below the stride, which is a multiple of a block and which both the
        // rows and the panel fill; a prefetch may point anywhere.
        unsafe {
            let weights = panel.add(input * PANEL);
            _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(AHEAD));
            _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(AHEAD + 64));
            let weights = weights.cast::<__m256i>();
            let first = [
                _mm256_loadu_si256(weights),
                _mm256_loadu_si256(weights.add(1)),
            ];
            let second = [
                _mm256_loadu_si256(weights.add(2)),
                _mm256_loadu_si256(weights.add(3)),
            ];
            for (row, acc) in acc.iter_mut().enumerate() {
                let inputs = inputs.add(row * tile.stride + input).cast::<i32>();
                let near = _mm256_set1_epi32(inputs.read_unaligned());
                let far = _mm256_set1_epi32(inputs.add(1).read_unaligned());
                for half in 0..2 {
                    let near = _mm256_maddubs_epi16(near, first[half]);
                    let far = _mm256_maddubs_epi16(far, second[half]);
                    if NARROW {
                        let both = _mm256_madd_epi16(_mm256_add_epi16(near, far), ones);
                        acc[half] = _mm256_add_epi32(acc[half], both);
                    } else {
                        let near = _mm256_madd_epi16(near, ones);
                        let far = _mm256_madd_epi16(far, ones);
                        acc[half] = _mm256_add_epi32(acc[half], _mm256_add_epi32(near, far));
                    }
                }
            }
        }
    }
    for (acc, sums) in acc.iter().zip(sums) {
        let sums = sums.as_mut_ptr().cast::<__m256i>();
        // SAFETY: a row of sums is two registers.
        unsafe {
            _mm256_storeu_si256(sums, acc[0]);
            _mm256_storeu_si256(sums.add(1), acc[1]);
        }
    }
}

/// Both factors as 16-bit integers: every second of them at a time, which takes no shuffles.
///
/// # Safety
///
/// As [`Tile::check`] has it, and `R` is `tile.rows`.
#[target_feature(enable = "avx2")]
unsafe fn avx2_wide_rows<const R: usize>(tile: &Tile<'_>, sums: &mut Sums) {
    let (inputs, panel) = (tile.activations.as_ptr(), tile.panel.as_ptr());
    let low_bytes = _mm256_set1_epi16(0xff);
    let mut acc = [[_mm256_setzero_si256(); 2]; R];
    for input in (0..tile.stride).step_by(GROUP) {
        // SAFETY: `input` stays below the stride, which is a multiple of a group and which both the
        // rows and the panel fill; a prefetch may point anywhere.
        unsafe {
            let weights = panel.add(input * PANEL);
            _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(AHEAD));
            let weights = weights.cast::<__m256i>();
            for half in 0..2 {
                let weights = _mm256_loadu_si256(weights.add(half));
                let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights));
                let odd = _mm256_srai_epi16::<8>(weights);
                for (row, acc) in acc.iter_mut().enumerate() {
                    let inputs = inputs.add(row * tile.stride + input).cast::<i32>();
                    let inputs = _mm256_set1_epi32(inputs.read_unaligned());
                    let of_even = _mm256_madd_epi16(_mm256_and_si256(inputs, low_bytes), even);
                    let of_odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(inputs), odd);
                    acc[half] = _mm256_add_epi32(acc[half], _mm256_add_epi32(of_even, of_odd));
                }
            }
        }
    }
    for (acc, sums) in acc.iter().zip(sums) {
        let sums = sums.as_mut_ptr().cast::<__m256i>();
        // SAFETY: a row of sums is two registers.
        unsafe {
            _mm256_storeu_si256(sums, acc[0]);
            _mm256_storeu_si256(sums.add(1), acc[1]);
        }
    }
}

/// # Safety
///
/// As [`Tile::check`] has it, and `R` is `tile.rows`.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn avx_vnni_rows<const R: usize>(tile: &Tile<'_>, sums: &mut Sums) {
    let (inputs, panel) = (tile.activations.as_ptr(), tile.panel.as_ptr());
    let mut acc = [[_mm256_setzero_si256(); 2]; R];
    for input in (0..tile.stride).step_by(GROUP) {
        // SAFETY: `input` stays below the stride, which is a multiple of a group and which both the
        // rows and the panel fill; a prefetch may point anywhere.
        unsafe {
            let weights = panel.add(input * PANEL);
            _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(AHEAD));
            let weights = weights.cast::<__m256i>();
            let weights = [
                _mm256_loadu_si256(weights),
                _mm256_loadu_si256(weights.add(1)),
            ];
            for (row, acc) in acc.iter_mut().enumerate() {
                let inputs = inputs.add(row * tile.stride + input).cast::<i32>();
                let inputs = _mm256_set1_epi32(inputs.read_unaligned());
                for (acc, weights) in acc.iter_mut().zip(weights) {
                    *acc = _mm256_dpbusd_avx_epi32(*acc, inputs, weights);
                }
            }
        }
    }
    for (acc, sums) in acc.iter().zip(sums) {
        let sums = sums.as_mut_ptr().cast::<__m256i>();
        // SAFETY: a row of sums is two registers.
        unsafe {
            _mm256_storeu_si256(sums, acc[0]);
            _mm256_storeu_si256(sums.add(1), acc[1]);
        }
    }
}

/// # Safety
///
/// As [`Tile::check`] has it, and `R` is `tile.rows`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn avx512_vnni_rows<const R: usize>(tile: &Tile<'_>, sums: &mut Sums) {
    let (inputs, panel) = (tile.activations.as_ptr(), tile.panel.as_ptr());
    // Two accumulators a row, as a dot product takes longer than the next one can wait.
    let mut acc = [[_mm512_setzero_si512(); 2]; R];
    for input in (0..tile.stride).step_by(BLOCK) {
        // SAFETY: `input` stays below the stride, which is a multiple of a block and which both the
        // rows and the panel fill; a prefetch may point anywhere.
        unsafe {
            let weights = panel.add(input * PANEL);
            _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(AHEAD));
            _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(AHEAD + 64));
            let weights = weights.cast::<__m512i>();
            let weights = [
                _mm512_loadu_si512(weights),
                _mm512_loadu_si512(weights.add(1)),
            ];
            for (row, acc) in acc.iter_mut().enumerate() {
                let inputs = inputs.add(row * tile.stride + input).cast::<i32>();
                for group in 0..2 {
                    let inputs = _mm512_set1_epi32(inputs.add(group).read_unaligned());
                    acc[group] = _mm512_dpbusd_epi32(acc[group], inputs, weights[group]);
                }
            }
        }
    }
    for (acc, sums) in acc.iter().zip(sums) {
        // SAFETY: a row of sums is one register.
        unsafe {
            _mm512_storeu_si512(sums.as_mut_ptr().cast(), _mm512_add_epi32(acc[0], acc[1]));
        }
    }
}
