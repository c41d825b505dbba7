//! Attention over keys and values rounded to 16-bit integers. An AVX-512 VNNI instruction of x86-64
//! adds two products of such integers, so it computes twice as many products as in float32.
//!
//! Each query, each key and each column of the values has its own scale. The probabilities of a
//! query have a scale for each block of 64 positions, so a long tail of small probabilities counts.
//! Integers are as large as 32-bit sums allow. For a head of 64 columns, the rounding error is at
//! most 2^-13 of the largest number of the row. The sums themselves are exact. (Intel 64 and IA-32
//! Architectures Software Developer's Manual, `VPDPWSSD`.)

use std::arch::x86_64::*;

use super::kernel::{
    Head, KeyMask, KvElement, MAX_ROWS, PackedKv, Scratch, Segment, Softmax, View, attend_body,
    shift, tiles,
};
use super::padding::{padded_head_size, padded_positions};
use crate::cpu::features;
use crate::simd::ROUND;
use crate::simd::lanes::{Avx512, LANES, Lanes};
use crate::simd::prefetch::{L1, Prefetch};

/// Size of the largest head whose queries and keys have at least 12 bits.
const MAX_SIZE: usize = 512;

/// Two integers that one instruction multiplies and adds: two neighbouring columns of a query or
/// key, or two positions of a column of values.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(4))]
pub(super) struct Pair([i16; 2]);

/// Pairs of positions whose weighted values are added as integers.
const PAIRS: usize = 32;
/// Bits of the integer of a probability.
const PROB_BITS: f32 = 14.0;
/// The largest integer of a probability: 2 to the power of [`PROB_BITS`].
const MAX_PROB: f32 = 16384.0;
/// The largest integer of a value. The sum of `2 * PAIRS` products fits 32 bits.
const MAX_VALUE: f32 = 2047.0;
/// Prefetch distance in rows of queries, keys or values. The rows of a head are far apart in
/// memory.
const ROWS_AHEAD: usize = 8;
/// Registers of sums side by side in a tile, at most.
const MAX_COLUMNS: usize = 4;

/// The largest integer of a query or key of `size` columns. The sum of `size` products fits 32
/// bits.
fn max_factor(size: usize) -> f32 {
    let largest = f64::from(i32::MAX) / size.next_multiple_of(2) as f64;
    largest.sqrt().floor().min(f64::from(i16::MAX)) as f32
}

/// Whether the processor has AVX-512 VNNI.
fn is_available() -> bool {
    features().avx512_vnni
}

/// Whether this processor can compute rounded attention with heads of this size.
pub(super) fn can_attend(size: usize) -> bool {
    is_available() && size <= MAX_SIZE
}

/// Proof that the processor has AVX-512 VNNI: its only constructor checks.
#[derive(Clone, Copy, Debug)]
struct Vnni(());

impl Default for Vnni {
    /// # Panics
    ///
    /// When the processor lacks AVX-512 VNNI.
    fn default() -> Self {
        assert!(is_available(), "a processor with AVX-512 VNNI");
        Self(())
    }
}

/// Memory for the rounded left factors of a segment.
#[derive(Debug, Default)]
pub(super) struct Rounded {
    _vnni: Vnni,
    /// Rounded queries: `[rows, pairs of columns]`.
    queries: Vec<Pair>,
    /// Scale of each query: `[rows]`.
    query_scales: Vec<f32>,
    /// Rounded probabilities: `[rows, pairs of positions]`.
    probs: Vec<Pair>,
    /// Scale of the probabilities of each block, a power of 2: `[rows, blocks of PAIRS]`.
    prob_scales: Vec<f32>,
}

impl KvElement for Pair {
    type Factors = Rounded;

    #[inline(always)]
    fn scores<L: Lanes>(
        head: &Head<'_, Self>,
        segment: &Segment<'_, Self>,
        rounded: &mut Rounded,
        probs: &mut [f32],
    ) {
        let stride = segment.stride();
        let pairs = head.size.div_ceil(2);
        let [key_scales, _] = segment.scales;
        let Rounded { queries, query_scales, .. } = rounded;
        queries.resize(head.rows * pairs, Self::default());
        query_scales.clear();
        for (row, queries) in queries.chunks_exact_mut(pairs).enumerate() {
            L1::fetch_all(
                head.queries.as_ptr().wrapping_add((row + ROWS_AHEAD) * head.stride),
                head.size,
            );
            let row = &head.queries[row * head.stride..][..head.size];
            // SAFETY: `rounded` proves that the processor has AVX-512 VNNI.
            let scale = unsafe { round_row(row, queries) };
            query_scales.push(scale * head.scale);
        }
        let (mut block, blocks) = (0, stride / LANES);
        while block < blocks {
            let columns = columns_of_tile(blocks - block);
            for rows in tiles(head.rows) {
                let tile = Scores {
                    queries: &queries[rows.start * pairs..rows.end * pairs],
                    query_scales: &query_scales[rows.clone()],
                    keys: &segment.keys[block * pairs * LANES..][..columns * pairs * LANES],
                    key_scales: &key_scales[block * LANES..][..columns * LANES],
                    pairs,
                    scores: &mut probs[rows.start * stride + block * LANES..],
                    stride,
                };
                // SAFETY: `rounded` proves that the processor has AVX-512 VNNI.
                unsafe { tile.compute(rows.len(), columns) };
            }
            block += columns;
        }
    }

    #[inline(always)]
    fn probabilities(
        softmax: &mut Softmax,
        scores: &mut [f32],
        query: usize,
        rounded: &mut Rounded,
    ) -> f32 {
        let pairs = scores.len() / 2;
        let blocks = pairs.div_ceil(PAIRS);
        let Rounded { probs, prob_scales, .. } = rounded;
        if probs.len() < (query + 1) * pairs {
            probs.resize((query + 1) * pairs, Self::default());
        }
        if prob_scales.len() < (query + 1) * blocks {
            prob_scales.resize((query + 1) * blocks, 0.0);
        }
        let probs = &mut probs[query * pairs..][..pairs];
        let scales = &mut prob_scales[query * blocks..][..blocks];
        // SAFETY: `rounded` proves that the processor has AVX-512 VNNI.
        unsafe { exponentials(softmax, scores, probs, scales) }
    }

    #[inline(always)]
    fn add_weighted<L: Lanes>(
        head: &Head<'_, Self>,
        segment: &Segment<'_, Self>,
        rounded: &mut Rounded,
        _: &mut [f32],
        attended: &mut [f32],
    ) {
        let [_, value_scales] = segment.scales;
        let row = padded_head_size(head.size);
        let pairs_per_row = segment.stride() / 2;
        let blocks_per_row = pairs_per_row.div_ceil(PAIRS);
        let pairs = segment.length().div_ceil(2);
        for first in (0..pairs).step_by(PAIRS) {
            let count = PAIRS.min(pairs - first);
            for rows in tiles(head.rows) {
                let mut column = 0;
                while column < row / LANES {
                    let columns = columns_of_tile(row / LANES - column);
                    let tile = WeightedSum {
                        probs: &rounded.probs[rows.start * pairs_per_row + first..],
                        pairs_per_row,
                        prob_scales: &rounded.prob_scales
                            [rows.start * blocks_per_row + first / PAIRS..],
                        blocks_per_row,
                        values: &segment.values[first * row + column * LANES..],
                        value_scales: &value_scales[column * LANES..][..columns * LANES],
                        pairs: count,
                        attended: &mut attended[rows.start * row + column * LANES..],
                        row,
                    };
                    // SAFETY: `rounded` proves that the processor has AVX-512 VNNI.
                    unsafe { tile.compute(rows.len(), columns) };
                    column += columns;
                }
            }
        }
    }
}

/// The scale of integers up to `limit` for values up to `magnitude`, and the inverse of the scale.
/// If `magnitude` is not finite, the scale is NaN, and so are all products.
#[inline(always)]
fn scale(magnitude: f32, limit: f32) -> (f32, f32) {
    let inverse = limit / magnitude;
    match magnitude {
        _ if !magnitude.is_finite() => (f32::NAN, 0.0),
        // All values are zero or too small to represent.
        _ if !inverse.is_finite() => (0.0, 0.0),
        _ => (magnitude / limit, inverse),
    }
}

/// The first sixteen values, padded with zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[f32]) -> __m512 {
    // SAFETY: there are sixteen values, or the mask selects those that there are.
    unsafe {
        match values.len() {
            LANES.. => _mm512_loadu_ps(values.as_ptr()),
            count => _mm512_maskz_loadu_ps((1 << count) - 1, values.as_ptr()),
        }
    }
}

/// The bits of the magnitudes. They have the order of the magnitudes, with NaN as the largest.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn magnitudes(values: __m512) -> __m512i {
    _mm512_and_si512(_mm512_castps_si512(values), _mm512_set1_epi32(i32::MAX))
}

/// The integers nearest to `values * inverses`, in the lower 16 bits of each lane. The magnitudes
/// of the products must be below 2^15.
#[inline]
#[target_feature(enable = "avx512f")]
fn nearest(values: __m512, inverses: __m512) -> __m512i {
    let scaled = _mm512_mul_ps(values, inverses);
    _mm512_castps_si512(_mm512_add_ps(scaled, _mm512_set1_ps(ROUND)))
}

/// Rounds a query or a key to `pairs` and returns its scale. If the number of columns is odd, the
/// last pair ends with a zero.
///
/// # Panics
///
/// When `pairs` is too short.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn round_row(row: &[f32], pairs: &mut [Pair]) -> f32 {
    let mut largest = _mm512_setzero_si512();
    for values in row.chunks(LANES) {
        largest = _mm512_max_epu32(largest, magnitudes(load(values)));
    }
    let magnitude = f32::from_bits(_mm512_reduce_max_epu32(largest));
    let (scale, inverse) = scale(magnitude, max_factor(row.len()));
    let inverse = _mm512_set1_ps(inverse);
    let pairs = &mut pairs[..row.len().div_ceil(2)];
    for (values, pairs) in row.chunks(LANES).zip(pairs.chunks_mut(LANES / 2)) {
        let integers = _mm512_cvtepi32_epi16(nearest(load(values), inverse));
        let to = pairs.as_mut_ptr();
        // SAFETY: there are eight pairs, or the mask selects those that there are.
        unsafe {
            match pairs.len() {
                8.. => _mm256_storeu_si256(to.cast(), integers),
                count => _mm256_mask_storeu_epi32(to.cast(), (1 << count) - 1, integers),
            }
        }
    }
    scale
}

/// Updates the bits of the largest magnitude of each column with the values of `row`. The length
/// of `largest` is a multiple of [`LANES`], and `row` may be shorter.
#[target_feature(enable = "avx512f,avx512dq")]
fn update_largest(largest: &mut [u32], row: &[f32]) {
    for (largest, values) in largest.as_chunks_mut::<LANES>().0.iter_mut().zip(row.chunks(LANES)) {
        // SAFETY: an array of a register's size.
        unsafe {
            let raised = _mm512_loadu_si512(largest.as_ptr().cast());
            let raised = _mm512_max_epu32(raised, magnitudes(load(values)));
            _mm512_storeu_si512(largest.as_mut_ptr().cast(), raised);
        }
    }
}

/// Rounds two rows of values to pairs, one for each column. The number of pairs is a multiple of
/// [`LANES`]. Pairs beyond a row's end have zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
fn round_columns([first, second]: [&[f32]; 2], inverses: &[f32], pairs: &mut [Pair]) {
    let columns = pairs.as_chunks_mut::<LANES>().0.iter_mut().zip(inverses.chunks_exact(LANES));
    for (index, (pairs, inverses)) in columns.enumerate() {
        let inverses = load(inverses);
        let round = |row: &[f32]| {
            let row = &row[(index * LANES).min(row.len())..];
            nearest(load(row), inverses)
        };
        let seconds = _mm512_slli_epi32::<16>(round(second));
        let both = _mm512_mask_blend_epi16(0xaaaa_aaaa, round(first), seconds);
        // SAFETY: sixteen pairs are a register.
        unsafe { _mm512_storeu_si512(pairs.as_mut_ptr().cast(), both) };
    }
}

/// Registers side by side of the next tile, if `left` registers are left.
fn columns_of_tile(left: usize) -> usize {
    match left {
        MAX_COLUMNS.. => MAX_COLUMNS,
        2.. => 2,
        _ => 1,
    }
}

/// Rounded keys and values of successive positions; zeros for hidden positions.
#[derive(Debug, Default)]
pub(super) struct RoundedKv {
    _vnni: Vnni,
    /// Keys: `[blocks, pairs of columns, LANES]`.
    keys: Vec<Pair>,
    /// Scale of each key; 0 for padding.
    key_scales: Vec<f32>,
    /// Values: `[pairs of positions, padded head size]`.
    values: Vec<Pair>,
    /// Scale of each column of the values, padding included.
    value_scales: Vec<f32>,
    size: usize,
}

impl PackedKv for RoundedKv {
    type Element = Pair;

    fn pack(&mut self, keys_and_values: [&[f32]; 2], mask: KeyMask<'_>, sizes: [usize; 2]) {
        // SAFETY: `self` proves that the processor has AVX-512 VNNI.
        unsafe { self.pack_rows(keys_and_values, mask, sizes) }
    }

    fn segment<'a>(&'a self, first: usize, view: View<'a>) -> Segment<'a, Pair> {
        Segment {
            keys: &self.keys[first * self.size.div_ceil(2)..],
            values: &self.values[first / 2 * padded_head_size(self.size)..],
            scales: [&self.key_scales[first..], &self.value_scales],
            view,
        }
    }

    fn attend(head: &Head<'_, Pair>, factors: &mut Rounded, scratch: &mut Scratch) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn attend(head: &Head<'_, Pair>, factors: &mut Rounded, scratch: &mut Scratch) {
            attend_body::<Avx512, Pair>(head, factors, scratch);
        }
        // SAFETY: `factors` proves that the processor has AVX-512 VNNI.
        unsafe { attend(head, factors, scratch) }
    }
}

impl RoundedKv {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn pack_rows(&mut self, [keys, values]: [&[f32]; 2], mask: KeyMask<'_>, sizes: [usize; 2]) {
        let [stride, size] = sizes;
        let (pairs, row, positions) =
            (size.div_ceil(2), padded_head_size(size), padded_positions(mask.length));
        self.size = size;
        self.keys.resize(positions * pairs, Pair::default());
        self.key_scales.clear();
        self.key_scales.resize(positions, 0.0);
        let mut rounded = [Pair::default(); MAX_SIZE / 2];
        let rounded = &mut rounded[..pairs];
        for (block, packed) in self.keys.chunks_exact_mut(pairs * LANES).enumerate() {
            for lane in 0..LANES {
                let position = block * LANES + lane;
                L1::fetch_all(keys.as_ptr().wrapping_add((position + ROWS_AHEAD) * stride), size);
                match mask.is_visible(position) {
                    true => {
                        let key = &keys[position * stride..][..size];
                        self.key_scales[position] = round_row(key, rounded);
                    }
                    false => rounded.fill(Pair::default()),
                }
                for (packed, pair) in packed[lane..].iter_mut().step_by(LANES).zip(&*rounded) {
                    *packed = *pair;
                }
            }
        }
        // The bits of the largest magnitude of each column.
        let mut largest = vec![0; row];
        for position in (0..mask.length).filter(|&position| mask.is_visible(position)) {
            L1::fetch_all(values.as_ptr().wrapping_add((position + ROWS_AHEAD) * stride), size);
            update_largest(&mut largest, &values[position * stride..][..size]);
        }
        let mut inverses = vec![0.0; row];
        self.value_scales.clear();
        for (largest, to) in largest.into_iter().zip(&mut inverses) {
            let (scale, inverse) = scale(f32::from_bits(largest), MAX_VALUE);
            self.value_scales.push(scale / MAX_PROB);
            *to = inverse;
        }
        self.values.resize(positions / 2 * row, Pair::default());
        for (pair, packed) in self.values.chunks_exact_mut(row).enumerate() {
            let value = |position: usize| {
                L1::fetch_all(values.as_ptr().wrapping_add((position + ROWS_AHEAD) * stride), size);
                match mask.is_visible(position) {
                    true => &values[position * stride..][..size],
                    false => &[],
                }
            };
            round_columns([value(2 * pair), value(2 * pair + 1)], &inverses, packed);
        }
    }
}

/// Coefficients of a polynomial for `2^x` from -0.5 to 0.5, within 3e-6, from the highest power
/// down to x.
const POWERS_OF_2: [f32; 4] = [9.681_91e-3, 5.591_969e-2, 0.240_220_2, 0.693_121_5];
/// Smallest exponent of a block's scale. The probabilities of such a block are negligible.
const MIN_SCALE_EXPONENT: f32 = -126.0;
/// Smallest exponent of a probability relative to its block's scale. Its integer is 0.
const MIN_PROB_EXPONENT: f32 = -32.0;

/// Turns scores, a multiple of [`LANES`] of them, into probabilities before normalization, as
/// [`Softmax::add`] does, but rounded to integers. `scales` gets the scale of each block of
/// [`PAIRS`], a power of 2 such that the largest integer of the block is more than half of
/// [`MAX_PROB`]. The softmax sums the integers, so the weights of all values sum to 1.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn exponentials(
    softmax: &mut Softmax,
    scores: &[f32],
    probs: &mut [Pair],
    scales: &mut [f32],
) -> f32 {
    assert!(
        scores.len() == 2 * probs.len() && scales.len() == probs.len().div_ceil(PAIRS),
        "a probability for each score, and a scale for each block"
    );
    let load = |scores: &[f32; LANES]| {
        // SAFETY: an array of a register's size.
        unsafe { _mm512_loadu_ps(scores.as_ptr()) }
    };
    // The largest score of each block.
    for (scores, largest) in scores.chunks(2 * PAIRS).zip(&mut *scales) {
        let mut max = _mm512_set1_ps(f32::NEG_INFINITY);
        for scores in scores.as_chunks().0 {
            max = _mm512_max_ps(max, load(scores));
        }
        *largest = _mm512_reduce_max_ps(max);
    }
    let max = scales.iter().copied().fold(softmax.max, f32::max);
    let shift = shift(max);
    let [highest, third, second, first] = POWERS_OF_2.map(|value| _mm512_set1_ps(value));
    let [one, min_power, round] =
        [1.0, MIN_PROB_EXPONENT, ROUND].map(|value| _mm512_set1_ps(value));
    let mut sums = _mm512_setzero_ps();
    let blocks = scores.chunks(2 * PAIRS).zip(probs.chunks_mut(PAIRS));
    for ((scores, probs), scale) in blocks.zip(scales) {
        // The same operations as for `power` below, so that no power is larger.
        let exponent = (*scale - shift) * std::f32::consts::LOG2_E;
        let exponent = exponent.ceil().max(MIN_SCALE_EXPONENT);
        let mut integer_sums = _mm512_setzero_ps();
        for (scores, probs) in
            scores.as_chunks().0.iter().zip(probs.as_chunks_mut::<{ LANES / 2 }>().0)
        {
            let power = _mm512_sub_ps(load(scores), _mm512_set1_ps(shift));
            let power = _mm512_mul_ps(power, _mm512_set1_ps(std::f32::consts::LOG2_E));
            let power = _mm512_sub_ps(power, _mm512_set1_ps(exponent));
            // If the power is NaN, so is the maximum, because the power is the second operand.
            let power = _mm512_max_ps(min_power, power);
            let whole = _mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>(power);
            let part = _mm512_sub_ps(power, whole);
            let series = _mm512_fmadd_ps(highest, part, third);
            let series = _mm512_fmadd_ps(series, part, second);
            let series = _mm512_fmadd_ps(series, part, first);
            let series = _mm512_fmadd_ps(series, part, one);
            let prob = _mm512_scalef_ps(series, _mm512_add_ps(whole, _mm512_set1_ps(PROB_BITS)));
            let rounded = _mm512_add_ps(prob, round);
            integer_sums = _mm512_add_ps(integer_sums, _mm512_sub_ps(rounded, round));
            let integers = _mm512_cvtepi32_epi16(_mm512_castps_si512(rounded));
            // SAFETY: eight pairs of 16 bits are 256 bits.
            unsafe { _mm256_storeu_si256(probs.as_mut_ptr().cast(), integers) };
        }
        *scale = f32::from_bits(((exponent as i32 + 127) as u32) << 23);
        sums = _mm512_fmadd_ps(integer_sums, _mm512_set1_ps(*scale), sums);
    }
    softmax.merge(max, _mm512_reduce_add_ps(sums) / MAX_PROB)
}

/// Calls the method `compute_sized` of a tile that is compiled for its rows and columns.
macro_rules! dispatch_size {
    ($tile:ident, $rows:ident, $columns:ident; $($row:literal)*) => {
        match ($rows, $columns) {
            $(
                // SAFETY: the caller promises AVX-512 VNNI.
                ($row, 1) => unsafe { $tile.compute_sized::<$row, 1>() },
                // SAFETY: the caller promises AVX-512 VNNI.
                ($row, 2) => unsafe { $tile.compute_sized::<$row, 2>() },
                // SAFETY: the caller promises AVX-512 VNNI.
                ($row, 4) => unsafe { $tile.compute_sized::<$row, 4>() },
            )*
            other => panic!("a tile of {other:?} rows and columns"),
        }
    };
}

/// Tile that computes the scores of some queries with blocks of keys.
struct Scores<'a> {
    /// Queries, `[rows, pairs]`, and the scale of each.
    queries: &'a [Pair],
    query_scales: &'a [f32],
    /// Keys, `[columns, pairs, LANES]`, and the scale of each.
    keys: &'a [Pair],
    key_scales: &'a [f32],
    /// Pairs of columns of a head.
    pairs: usize,
    /// Scores: `[rows, stride]`.
    scores: &'a mut [f32],
    stride: usize,
}

impl Scores<'_> {
    /// # Safety
    ///
    /// The processor has AVX-512 VNNI.
    #[inline(always)]
    unsafe fn compute(self, rows: usize, columns: usize) {
        const { assert!(MAX_ROWS == 6) };
        dispatch_size!(self, rows, columns; 1 2 3 4 5 6);
    }

    /// # Safety
    ///
    /// The processor has AVX-512 VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn compute_sized<const MR: usize, const NR: usize>(self) {
        let Self { pairs, stride, .. } = self;
        assert!(
            self.queries.len() == MR * pairs
                && self.query_scales.len() == MR
                && self.keys.len() == NR * pairs * LANES
                && self.key_scales.len() == NR * LANES
                && self.scores.len() >= (MR - 1) * stride + NR * LANES,
            "rows and keys as long as their pairs"
        );
        let mut sums = [[_mm512_setzero_si512(); NR]; MR];
        for pair in 0..pairs {
            let mut keys = [_mm512_setzero_si512(); NR];
            for (block, keys) in keys.iter_mut().enumerate() {
                // SAFETY: `NR` blocks of `pairs` registers, as just checked.
                unsafe {
                    let at = self.keys.as_ptr().add((block * pairs + pair) * LANES);
                    *keys = _mm512_loadu_si512(at.cast());
                }
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: `MR` rows of `pairs`, as just checked.
                let query = unsafe { broadcast(self.queries.as_ptr().add(row * pairs + pair)) };
                for (sum, keys) in sums.iter_mut().zip(keys) {
                    *sum = _mm512_dpwssd_epi32(*sum, query, keys);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let query_scale = _mm512_set1_ps(self.query_scales[row]);
            for (block, &sum) in sums.iter().enumerate() {
                // SAFETY: `NR` registers of scales, and `MR` rows of as many scores, as just
                // checked.
                unsafe {
                    let scales = _mm512_loadu_ps(self.key_scales.as_ptr().add(block * LANES));
                    let scales = _mm512_mul_ps(scales, query_scale);
                    let scores = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scales);
                    let to = self.scores.as_mut_ptr().add(row * stride + block * LANES);
                    _mm512_storeu_ps(to, scores);
                }
            }
        }
    }
}

/// Tile that adds the values of some positions, weighted with the probabilities of each row, to
/// columns of the result.
struct WeightedSum<'a> {
    /// Probabilities: `[rows, pairs_per_row]`.
    probs: &'a [Pair],
    pairs_per_row: usize,
    /// Scales of the probabilities: `[rows, blocks_per_row]`.
    prob_scales: &'a [f32],
    blocks_per_row: usize,
    /// Values, `[pairs, row]`, and the scale of each column.
    values: &'a [Pair],
    value_scales: &'a [f32],
    /// Pairs of positions, [`PAIRS`] at most.
    pairs: usize,
    /// Results: `[rows, row]`.
    attended: &'a mut [f32],
    row: usize,
}

impl WeightedSum<'_> {
    /// # Safety
    ///
    /// The processor has AVX-512 VNNI.
    #[inline(always)]
    unsafe fn compute(self, rows: usize, columns: usize) {
        dispatch_size!(self, rows, columns; 1 2 3 4 5 6);
    }

    /// # Safety
    ///
    /// The processor has AVX-512 VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn compute_sized<const MR: usize, const NR: usize>(self) {
        let Self { pairs_per_row, pairs, row, .. } = self;
        assert!(
            (1..=PAIRS).contains(&pairs)
                && self.probs.len() >= (MR - 1) * pairs_per_row + pairs
                && self.prob_scales.len() > (MR - 1) * self.blocks_per_row
                && self.values.len() >= (pairs - 1) * row + NR * LANES
                && self.value_scales.len() == NR * LANES
                && self.attended.len() >= (MR - 1) * row + NR * LANES,
            "rows and values as long as their pairs"
        );
        let mut sums = [[_mm512_setzero_si512(); NR]; MR];
        for pair in 0..pairs {
            let mut values = [_mm512_setzero_si512(); NR];
            for (column, values) in values.iter_mut().enumerate() {
                // SAFETY: within the values, as just checked.
                unsafe {
                    let at = self.values.as_ptr().add(pair * row + column * LANES);
                    *values = _mm512_loadu_si512(at.cast());
                }
            }
            for (index, sums) in sums.iter_mut().enumerate() {
                // SAFETY: within the rows of probabilities, as just checked.
                let prob =
                    unsafe { broadcast(self.probs.as_ptr().add(index * pairs_per_row + pair)) };
                for (sum, values) in sums.iter_mut().zip(values) {
                    *sum = _mm512_dpwssd_epi32(*sum, prob, values);
                }
            }
        }
        for (index, sums) in sums.iter().enumerate() {
            let prob_scale = _mm512_set1_ps(self.prob_scales[index * self.blocks_per_row]);
            for (column, &sum) in sums.iter().enumerate() {
                // SAFETY: within the scales and the rows of the result, as just checked.
                unsafe {
                    let scales = _mm512_loadu_ps(self.value_scales.as_ptr().add(column * LANES));
                    let to = self.attended.as_mut_ptr().add(index * row + column * LANES);
                    let attended = _mm512_loadu_ps(to);
                    let sum = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), prob_scale);
                    let sum = _mm512_fmadd_ps(sum, scales, attended);
                    _mm512_storeu_ps(to, sum);
                }
            }
        }
    }
}

/// A register with the same pair in all lanes.
///
/// # Safety
///
/// The processor has AVX-512, and the pair can be read.
#[inline(always)]
unsafe fn broadcast(pair: *const Pair) -> __m512i {
    // SAFETY: the caller promises AVX-512 and a readable pair.
    unsafe { _mm512_set1_epi32(pair.cast::<i32>().read()) }
}

#[cfg(test)]
mod tests;
