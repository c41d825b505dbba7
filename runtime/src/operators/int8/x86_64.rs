//! The product on x86-64.

use std::arch::x86_64::*;

use super::{FOUR_FIT, MOST_PANELS, Sums, TWO_FIT, Tile};
use crate::operators::panels::{BLOCK, GROUP, PANEL};
use crate::simd::ahead::{Ahead, ByItself, Far, Near, crosses_pages};

/// Bytes of each panel that are fetched ahead: beyond a page's end the processor does not by itself.
const AHEAD: usize = 1536;
/// The same for AVX-512, which is done sooner with what is there.
const WIDE_AHEAD: usize = 2048;

/// Calls `$kernel` made for the tile's rows and panels, which must be among those listed, and for a way to fetch ahead
/// where there are several.
macro_rules! by_shape {
    ($tile:ident, $sums:ident, $kernel:ident; $($rows:literal x $panels:literal)*) => {
        match ($tile.rows, $tile.panels) {
            $(($rows, $panels) => $kernel::<$rows, $panels>($tile, $sums),)*
            other => panic!("a tile of {other:?} rows and panels"),
        }
    };
    ($tile:ident, $sums:ident, $kernel:ident, $ahead:ident; $($rows:literal x $panels:literal)*) => {
        match ($tile.rows, $tile.panels) {
            $(($rows, $panels) => $kernel::<$ahead, $rows, $panels>($tile, $sums),)*
            other => panic!("a tile of {other:?} rows and panels"),
        }
    };
}

pub(super) fn avx2(tile: &Tile<'_>, sums: &mut Sums) {
    assert!(is_x86_feature_detected!("avx2"));
    // SAFETY: the processor has AVX2, and the caller checked the tile.
    unsafe {
        match tile.bits {
            0..=FOUR_FIT => by_shape!(tile, sums, avx2_fours; 1 x 1 2 x 1 3 x 1 4 x 1),
            TWO_FIT => by_shape!(tile, sums, avx2_twos; 1 x 1 2 x 1 3 x 1 4 x 1),
            _ => by_shape!(tile, sums, avx2_wide; 1 x 1 2 x 1 3 x 1 4 x 1),
        }
    }
}

pub(super) fn avx_vnni(tile: &Tile<'_>, sums: &mut Sums) {
    assert!(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni"));
    // SAFETY: the processor has AVX-VNNI, and the caller checked the tile.
    unsafe {
        by_shape!(
            tile, sums, avx_vnni_tile;
            1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1
            1 x 2 2 x 2 3 x 2
        );
    }
}

pub(super) fn avx512_vnni(tile: &Tile<'_>, sums: &mut Sums) {
    assert!(
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
    );
    // SAFETY: the processor has AVX-512 with VNNI, and the caller checked the tile.
    unsafe {
        match (crosses_pages(), tile.panels) {
            (true, 1) => by_shape!(
                tile, sums, avx512_vnni_tile, ByItself;
                1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1 7 x 1 8 x 1 9 x 1 10 x 1 11 x 1 12 x 1
            ),
            (true, _) => by_shape!(
                tile, sums, avx512_vnni_tile, Far;
                1 x 2 2 x 2 3 x 2 4 x 2 5 x 2 6 x 2 7 x 2 8 x 2 9 x 2 10 x 2 11 x 2 12 x 2
                1 x 3 2 x 3 3 x 3 4 x 3 5 x 3 6 x 3 7 x 3 8 x 3
            ),
            (false, _) => by_shape!(
                tile, sums, avx512_vnni_tile, Near;
                1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1 7 x 1 8 x 1 9 x 1 10 x 1 11 x 1 12 x 1
                1 x 4 2 x 4 3 x 4 4 x 4 5 x 4 6 x 4
                1 x 2 2 x 2 3 x 2 4 x 2 5 x 2 6 x 2 7 x 2 8 x 2 9 x 2 10 x 2 11 x 2 12 x 2
            ),
        }
    }
}

/// # Safety
///
/// As [`Tile::check`] has it, and `R` and `P` are the tile's rows and panels; `P` is 1.
#[target_feature(enable = "avx2")]
unsafe fn avx2_fours<const R: usize, const P: usize>(tile: &Tile<'_>, sums: &mut Sums) {
    const { assert!(P == 1) };
    // SAFETY: as the caller promises.
    unsafe { avx2_tile::<R, true>(tile, sums) }
}

/// # Safety
///
/// As [`Tile::check`] has it, and `R` and `P` are the tile's rows and panels; `P` is 1.
#[target_feature(enable = "avx2")]
unsafe fn avx2_twos<const R: usize, const P: usize>(tile: &Tile<'_>, sums: &mut Sums) {
    const { assert!(P == 1) };
    // SAFETY: as the caller promises.
    unsafe { avx2_tile::<R, false>(tile, sums) }
}

/// Both factors as 16-bit integers: every second of them at a time, which takes no shuffles.
///
/// # Safety
///
/// As [`Tile::check`] has it, and `R` and `P` are the tile's rows and panels; `P` is 1.
#[target_feature(enable = "avx2")]
unsafe fn avx2_wide<const R: usize, const P: usize>(tile: &Tile<'_>, sums: &mut Sums) {
    const { assert!(P == 1) };
    let (inputs, panel) = (tile.activations.as_ptr(), tile.weights.as_ptr());
    let low_bytes = _mm256_set1_epi16(0xff);
    let mut acc = [[_mm256_setzero_si256(); 2]; R];
    for input in (0..tile.stride).step_by(GROUP) {
        // SAFETY: `input` stays below the stride, which is a multiple of a group and which both the
        // rows and the panel fill; a prefetch may point anywhere.
        unsafe {
            let weights = panel.add(input * PANEL);
            _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(AHEAD));
            let weights = weights.cast::<__m256i>();
            let inputs = inputs.add(input * R).cast::<i32>();
            for half in 0..2 {
                let weights = _mm256_loadu_si256(weights.add(half));
                let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights));
                let odd = _mm256_srai_epi16::<8>(weights);
                for (row, acc) in acc.iter_mut().enumerate() {
                    let inputs = _mm256_set1_epi32(inputs.add(row).read_unaligned());
                    let of_even = _mm256_madd_epi16(_mm256_and_si256(inputs, low_bytes), even);
                    let of_odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(inputs), odd);
                    acc[half] = _mm256_add_epi32(acc[half], _mm256_add_epi32(of_even, of_odd));
                }
            }
        }
    }
    store_halves(&acc, sums);
}

/// # Safety
///
/// As [`Tile::check`] has it, `R` is the tile's rows, and there is one panel.
#[target_feature(enable = "avx2")]
unsafe fn avx2_tile<const R: usize, const FOURS: bool>(tile: &Tile<'_>, sums: &mut Sums) {
    let (inputs, panel) = (tile.activations.as_ptr(), tile.weights.as_ptr());
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
            let inputs = inputs.add(input * R).cast::<i32>();
            for (row, acc) in acc.iter_mut().enumerate() {
                let near = _mm256_set1_epi32(inputs.add(row).read_unaligned());
                let far = _mm256_set1_epi32(inputs.add(R + row).read_unaligned());
                for half in 0..2 {
                    let near = _mm256_maddubs_epi16(near, first[half]);
                    let far = _mm256_maddubs_epi16(far, second[half]);
                    if FOURS {
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
    store_halves(&acc, sums);
}

/// # Safety
///
/// As [`Tile::check`] has it, and `R` and `P` are the tile's rows and panels.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn avx_vnni_tile<const R: usize, const P: usize>(tile: &Tile<'_>, sums: &mut Sums) {
    let (inputs, panels) = (tile.activations.as_ptr(), tile.weights.as_ptr());
    let mut acc = [[[_mm256_setzero_si256(); 2]; P]; R];
    for input in (0..tile.stride).step_by(GROUP) {
        // SAFETY: `input` stays below the stride, which is a multiple of a group and which both the
        // rows and the panels fill; a prefetch may point anywhere.
        unsafe {
            let mut weights = [[_mm256_setzero_si256(); 2]; P];
            for (panel, weights) in weights.iter_mut().enumerate() {
                let place = panels.add((panel * tile.stride + input) * PANEL);
                _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(AHEAD));
                let place = place.cast::<__m256i>();
                *weights = [_mm256_loadu_si256(place), _mm256_loadu_si256(place.add(1))];
            }
            let inputs = inputs.add(input * R).cast::<i32>();
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
/// As [`Tile::check`] has it, and `R` and `P` are the tile's rows and panels.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn avx512_vnni_tile<A: Ahead, const R: usize, const P: usize>(
    tile: &Tile<'_>,
    sums: &mut Sums,
) {
    const { assert!(P <= MOST_PANELS) };
    let (inputs, panels) = (tile.activations.as_ptr(), tile.weights.as_ptr());
    let mut acc = [[_mm512_setzero_si512(); P]; R];
    // Near the panels' end, what is fetched ahead is the beginning of the panels behind the tile's.
    let panel_size = tile.stride * PANEL;
    let near_end = tile.stride.saturating_sub(WIDE_AHEAD / PANEL);
    for (range, ahead) in [
        (0..near_end, WIDE_AHEAD),
        (near_end..tile.stride, WIDE_AHEAD + (P - 1) * panel_size),
    ] {
        for input in range.step_by(GROUP) {
            // SAFETY: `input` stays below the stride, which is a multiple of a group and which both the
            // rows and the panels fill; a prefetch may point anywhere.
            unsafe {
                let mut weights = [_mm512_setzero_si512(); P];
                for (panel, weights) in weights.iter_mut().enumerate() {
                    let place = panels.add(panel * panel_size + input * PANEL);
                    A::fetch(place.wrapping_add(ahead));
                    *weights = _mm512_loadu_si512(place.cast());
                }
                let inputs = inputs.add(input * R).cast::<i32>();
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
