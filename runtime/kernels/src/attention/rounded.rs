//! Keys and values rounded to 16-bit integers, whose products x86-64's AVX-512 VNNI adds two at a
//! time, twice as many as float32 in an instruction.
//!
//! Each query and each key has a scale of its own, and so has each column of the values. Integers
//! are as large as sums of 32 bits allow: those of a head of 64 columns are within 2^-13 of the
//! largest of their row. The sums themselves are exact. (Intel 64 and IA-32 Architectures Software
//! Developer's Manual, `VPDPWSSD`.)

use std::arch::x86_64::*;
use std::ops::Range;

use super::kernel::{
    Head, KeyMask, KvElement, MAX_ROWS, PackedKv, Scratch, Segment, SegmentRow, Softmax,
    attend_body, shift, tiles,
};
use super::{padded_head_size, padded_positions};
use crate::cpu::features;
use crate::simd::lanes::{Avx512, LANES, Lanes};

/// Two integers that an instruction multiplies and adds at once: of a key or query two columns that
/// lie side by side, of a column of values two positions.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(4))]
pub(super) struct Pair([i16; 2]);

/// Pairs of positions whose weighted values are added as integers.
const PAIRS: usize = 32;
/// Bits of the integer of a probability.
const PROB_BITS: f32 = 14.0;
/// The integer of the probability 1.
const MAX_PROB: f32 = 16384.0;
/// The largest integer of a value: `2 * PAIRS` products fit 32 bits.
const MAX_VALUE: f32 = 2047.0;
/// Registers of sums side by side, at most.
const MAX_COLUMNS: usize = 4;

/// The largest integer of a query or key of so many columns: as many products fit 32 bits.
fn max_factor(size: usize) -> f32 {
    let largest = f64::from(i32::MAX) / size.next_multiple_of(2) as f64;
    largest.sqrt().floor().min(f64::from(i16::MAX)) as f32
}

/// Whether the processor has the instructions.
pub(super) fn is_available() -> bool {
    features().avx512_vnni
}

/// Memory for the rounded left factors of a segment.
#[derive(Debug, Default)]
pub(super) struct Rounded {
    /// `[rows, pairs of columns]`
    queries: Vec<Pair>,
    /// Of each query.
    scales: Vec<f32>,
    /// `[rows, pairs of positions]`
    probs: Vec<Pair>,
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
        let Rounded { queries, scales, .. } = rounded;
        queries.resize(head.rows * pairs, Self::default());
        scales.clear();
        for (row, queries) in queries.chunks_exact_mut(pairs).enumerate() {
            let row = &head.queries[row * head.stride..][..head.size];
            let (scale, inverse) = scale(max_magnitude(row), max_factor(head.size));
            scales.push(scale * head.scale);
            for (pair, columns) in queries.iter_mut().zip(row.chunks(2)) {
                *pair = Self::round([columns[0], columns.get(1).copied().unwrap_or(0.0)], inverse);
            }
        }
        let (mut block, blocks) = (0, stride / LANES);
        while block < blocks {
            let columns = columns_of_tile(blocks - block);
            for rows in tiles(head.rows) {
                let tile = Scores {
                    queries: &queries[rows.start * pairs..rows.end * pairs],
                    query_scales: &scales[rows.clone()],
                    keys: &segment.keys[block * pairs * LANES..][..columns * pairs * LANES],
                    key_scales: &key_scales[block * LANES..][..columns * LANES],
                    pairs,
                    scores: &mut probs[rows.start * stride + block * LANES..],
                    stride,
                };
                // SAFETY: `attend` checked for the instructions.
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
        if rounded.probs.len() < (query + 1) * pairs {
            rounded.probs.resize((query + 1) * pairs, Self::default());
        }
        // SAFETY: `attend` checked for the instructions.
        unsafe { exponentials(softmax, scores, &mut rounded.probs[query * pairs..][..pairs]) }
    }

    #[inline(always)]
    fn add_weighted<L: Lanes>(
        head: &Head<'_, Self>,
        segment: &Segment<'_, Self>,
        rounded: &mut Rounded,
        _: &[f32],
        attended: &mut [f32],
    ) {
        let [_, value_scales] = segment.scales;
        let row = padded_head_size(head.size);
        let pairs_of_row = segment.stride() / 2;
        let pairs = segment.mask.length.div_ceil(2);
        for first in (0..pairs).step_by(PAIRS) {
            let count = PAIRS.min(pairs - first);
            for rows in tiles(head.rows) {
                let mut column = 0;
                while column < row / LANES {
                    let columns = columns_of_tile(row / LANES - column);
                    let tile = WeightedSum {
                        probs: &rounded.probs[rows.start * pairs_of_row + first..],
                        pairs_of_row,
                        values: &segment.values[first * row + column * LANES..],
                        scales: &value_scales[column * LANES..][..columns * LANES],
                        pairs: count,
                        attended: &mut attended[rows.start * row + column * LANES..],
                        row,
                    };
                    // SAFETY: `attend` checked for the instructions.
                    unsafe { tile.compute(rows.len(), columns) };
                    column += columns;
                }
            }
        }
    }
}

impl Pair {
    /// The nearest integers of `values` times `inverse`, which are less than 2^15 then.
    #[inline(always)]
    fn round(values: [f32; 2], inverse: f32) -> Self {
        // Adding this leaves no bits behind the point, so the lowest bits are the integer.
        const ROUND: f32 = (3u32 << 22) as f32;
        let [first, second] = values;
        let integer = |value: f32| (value * inverse + ROUND).to_bits() as u16 as i16;
        Self([integer(first), integer(second)])
    }
}

/// The scale of integers up to `limit` for values of this magnitude at most, and its inverse. Where
/// a value is not finite, so are none of the products.
#[inline(always)]
fn scale(magnitude: f32, limit: f32) -> (f32, f32) {
    let inverse = limit / magnitude;
    match magnitude {
        _ if !magnitude.is_finite() => (f32::NAN, 0.0),
        // Nothing but zeros, or numbers too small to matter.
        _ if !inverse.is_finite() => (0.0, 0.0),
        _ => (magnitude / limit, inverse),
    }
}

/// The largest magnitude; not finite where a value is not.
#[inline(always)]
fn max_magnitude(values: &[f32]) -> f32 {
    let mut largest = [0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (largest, value) in largest.iter_mut().zip(chunk) {
            *largest = value.abs().to_bits().max(*largest);
        }
    }
    for (largest, value) in largest.iter_mut().zip(rest) {
        *largest = value.abs().to_bits().max(*largest);
    }
    // Magnitudes are in the order of their bits, and NaN is the largest.
    f32::from_bits(largest.into_iter().fold(0, u32::max))
}

/// Registers side by side of the next tile, where so many are left.
fn columns_of_tile(left: usize) -> usize {
    match left {
        MAX_COLUMNS.. => MAX_COLUMNS,
        2.. => 2,
        _ => 1,
    }
}

/// Rounded keys and values of successive positions.
#[derive(Debug, Default)]
pub(super) struct RoundedKv {
    /// `[blocks, pairs of columns, LANES]`
    keys: Vec<Pair>,
    /// Of each key; 0 behind the last.
    key_scales: Vec<f32>,
    /// `[pairs of positions, padded head size]`
    values: Vec<Pair>,
    /// Of each column, padding included.
    value_scales: Vec<f32>,
    size: usize,
}

impl PackedKv for RoundedKv {
    type Element = Pair;

    fn pack(&mut self, keys_and_values: [&[f32]; 2], count: usize, sizes: [usize; 2]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn pack(to: &mut RoundedKv, rows: [&[f32]; 2], count: usize, sizes: [usize; 2]) {
            to.pack_body(rows, count, sizes);
        }
        assert!(is_available(), "AVX-512 VNNI");
        // SAFETY: the processor has the instructions.
        unsafe { pack(self, keys_and_values, count, sizes) }
    }

    fn segment<'a>(
        &'a self,
        positions: &Range<usize>,
        mask: KeyMask<'a>,
        rows: &'a [SegmentRow],
        bias: Option<&'a [f32]>,
    ) -> Segment<'a, Pair> {
        Segment {
            keys: &self.keys[positions.start * self.size.div_ceil(2)..],
            values: &self.values[positions.start / 2 * padded_head_size(self.size)..],
            scales: [&self.key_scales[positions.start..], &self.value_scales],
            mask,
            rows,
            bias,
        }
    }

    fn attend(head: &Head<'_, Pair>, factors: &mut Rounded, scratch: &mut Scratch) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn attend(head: &Head<'_, Pair>, factors: &mut Rounded, scratch: &mut Scratch) {
            attend_body::<Avx512, Pair>(head, factors, scratch);
        }
        assert!(is_available(), "AVX-512 VNNI");
        // SAFETY: the processor has the instructions.
        unsafe { attend(head, factors, scratch) }
    }
}

impl RoundedKv {
    #[inline(always)]
    fn pack_body(&mut self, [keys, values]: [&[f32]; 2], count: usize, sizes: [usize; 2]) {
        let [stride, size] = sizes;
        let (pairs, row, positions) =
            (size.div_ceil(2), padded_head_size(size), padded_positions(count));
        self.size = size;
        self.keys.resize(positions * pairs, Pair::default());
        self.key_scales.clear();
        self.key_scales.resize(positions, 0.0);
        for (block, packed) in self.keys.chunks_exact_mut(pairs * LANES).enumerate() {
            for lane in 0..LANES {
                let position = block * LANES + lane;
                if position >= count {
                    for pair in packed[lane..].iter_mut().step_by(LANES) {
                        *pair = Pair::default();
                    }
                    continue;
                }
                let key = &keys[position * stride..][..size];
                let (scale, inverse) = scale(max_magnitude(key), max_factor(size));
                self.key_scales[position] = scale;
                for (pair, columns) in packed[lane..].iter_mut().step_by(LANES).zip(key.chunks(2)) {
                    let second = columns.get(1).copied().unwrap_or(0.0);
                    *pair = Pair::round([columns[0], second], inverse);
                }
            }
        }
        // The largest magnitude of each column, as bits: in their order, NaN the largest.
        let mut largest = vec![0; row];
        for position in 0..count {
            let value = &values[position * stride..][..size];
            for (largest, value) in largest.iter_mut().zip(value) {
                *largest = value.abs().to_bits().max(*largest);
            }
        }
        let mut inverses = vec![0.0; row];
        self.value_scales.clear();
        for (largest, to) in largest.into_iter().zip(&mut inverses) {
            let (scale, inverse) = scale(f32::from_bits(largest), MAX_VALUE);
            self.value_scales.push(scale / MAX_PROB);
            *to = inverse;
        }
        self.values.resize(positions / 2 * row, Pair::default());
        let nothing = vec![0.0; size];
        for (pair, packed) in self.values.chunks_exact_mut(row).enumerate() {
            let value = |position: usize| match position < count {
                true => &values[position * stride..][..size],
                false => &nothing[..],
            };
            let [first, second] = [value(2 * pair), value(2 * pair + 1)];
            let (packed, padding) = packed.split_at_mut(size);
            let columns = first.iter().zip(second).zip(&inverses);
            for (packed, ((&first, &second), &inverse)) in packed.iter_mut().zip(columns) {
                *packed = Pair::round([first, second], inverse);
            }
            padding.fill(Pair::default());
        }
    }
}

/// Coefficients of 2 to the power of x from -0.5 to 0.5, within 3e-6: that of the highest power
/// first, down to that of x.
const POWERS_OF_2: [f32; 4] = [9.681_91e-3, 5.591_969e-2, 0.240_220_2, 0.693_121_5];
/// Powers of 2 from here on are the least.
const LEAST_POWER: f32 = -126.0;

/// Turns scores, a multiple of [`LANES`] of them, into the integers of their probabilities before
/// normalization, as [`Softmax::add`] turns them into floats.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn exponentials(softmax: &mut Softmax, scores: &[f32], probs: &mut [Pair]) -> f32 {
    assert_eq!(scores.len(), 2 * probs.len(), "a probability for each score");
    let (fours, rest) = scores.as_chunks::<{ 4 * LANES }>();
    let mut largest = [_mm512_set1_ps(f32::NEG_INFINITY); 4];
    let load = |scores: &[f32; LANES]| {
        // SAFETY: an array of a register's size.
        unsafe { _mm512_loadu_ps(scores.as_ptr()) }
    };
    for four in fours {
        for (largest, scores) in largest.iter_mut().zip(four.as_chunks().0) {
            *largest = _mm512_max_ps(*largest, load(scores));
        }
    }
    for scores in rest.as_chunks().0 {
        largest[0] = _mm512_max_ps(largest[0], load(scores));
    }
    let largest = [[largest[0], largest[1]], [largest[2], largest[3]]]
        .map(|[first, second]| _mm512_max_ps(first, second));
    let max = _mm512_reduce_max_ps(_mm512_max_ps(largest[0], largest[1])).max(softmax.max);
    let shift = _mm512_set1_ps(shift(max));
    let [highest, third, second, first] = POWERS_OF_2.map(|value| _mm512_set1_ps(value));
    let one = _mm512_set1_ps(1.0);
    let mut sums = _mm512_setzero_ps();
    for (scores, probs) in scores.as_chunks().0.iter().zip(probs.as_chunks_mut::<{ LANES / 2 }>().0)
    {
        let power = _mm512_sub_ps(load(scores), shift);
        let power = _mm512_mul_ps(power, _mm512_set1_ps(std::f32::consts::LOG2_E));
        // The second where one is NaN.
        let power = _mm512_max_ps(_mm512_set1_ps(LEAST_POWER), power);
        let whole = _mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>(power);
        let part = _mm512_sub_ps(power, whole);
        let series = _mm512_fmadd_ps(highest, part, third);
        let series = _mm512_fmadd_ps(series, part, second);
        let series = _mm512_fmadd_ps(series, part, first);
        let series = _mm512_fmadd_ps(series, part, one);
        let prob = _mm512_scalef_ps(series, _mm512_add_ps(whole, _mm512_set1_ps(PROB_BITS)));
        sums = _mm512_add_ps(sums, prob);
        let integers = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(prob));
        // SAFETY: eight pairs of 16 bits are 256 bits.
        unsafe { _mm256_storeu_si256(probs.as_mut_ptr().cast(), integers) };
    }
    softmax.join(max, _mm512_reduce_add_ps(sums) / MAX_PROB)
}

/// Calls the method of a tile that was compiled for its rows and columns.
macro_rules! by_size {
    ($tile:ident, $rows:ident, $columns:ident; $($row:literal)*) => {
        match ($rows, $columns) {
            $(
                // SAFETY: as the caller promises.
                ($row, 1) => unsafe { $tile.of_size::<$row, 1>() },
                // SAFETY: as the caller promises.
                ($row, 2) => unsafe { $tile.of_size::<$row, 2>() },
                // SAFETY: as the caller promises.
                ($row, 4) => unsafe { $tile.of_size::<$row, 4>() },
            )*
            other => panic!("a tile of {other:?} rows and columns"),
        }
    };
}

/// The scores of some queries with blocks of keys.
struct Scores<'a> {
    /// `[rows, pairs]`, and the scale of each.
    queries: &'a [Pair],
    query_scales: &'a [f32],
    /// `[columns, pairs, LANES]`, and the scale of each key.
    keys: &'a [Pair],
    key_scales: &'a [f32],
    pairs: usize,
    /// One row every `stride`.
    scores: &'a mut [f32],
    stride: usize,
}

impl Scores<'_> {
    /// # Safety
    ///
    /// The processor has the instructions.
    #[inline(always)]
    unsafe fn compute(self, rows: usize, columns: usize) {
        const { assert!(MAX_ROWS == 6) };
        by_size!(self, rows, columns; 1 2 3 4 5 6);
    }

    /// # Safety
    ///
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn of_size<const MR: usize, const NR: usize>(self) {
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

/// Adds the values of some positions, weighted with each row's probabilities, to columns of the
/// result.
struct WeightedSum<'a> {
    /// One row every `pairs_of_row`.
    probs: &'a [Pair],
    pairs_of_row: usize,
    /// One pair of positions every `row`, and the scale of each column.
    values: &'a [Pair],
    scales: &'a [f32],
    /// Pairs of positions, [`PAIRS`] at most.
    pairs: usize,
    /// One row every `row`.
    attended: &'a mut [f32],
    row: usize,
}

impl WeightedSum<'_> {
    /// # Safety
    ///
    /// The processor has the instructions.
    #[inline(always)]
    unsafe fn compute(self, rows: usize, columns: usize) {
        by_size!(self, rows, columns; 1 2 3 4 5 6);
    }

    /// # Safety
    ///
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn of_size<const MR: usize, const NR: usize>(self) {
        let Self { pairs_of_row, pairs, row, .. } = self;
        assert!(
            (1..=PAIRS).contains(&pairs)
                && self.probs.len() >= (MR - 1) * pairs_of_row + pairs
                && self.values.len() >= (pairs - 1) * row + NR * LANES
                && self.scales.len() == NR * LANES
                && self.attended.len() >= (MR - 1) * row + NR * LANES,
            "rows and values as long as their pairs"
        );
        let mut sums = [[_mm512_setzero_si512(); NR]; MR];
        for pair in 0..pairs {
            let mut values = [_mm512_setzero_si512(); NR];
            for (column, values) in values.iter_mut().enumerate() {
                // SAFETY: the values reach as far as just checked.
                unsafe {
                    let at = self.values.as_ptr().add(pair * row + column * LANES);
                    *values = _mm512_loadu_si512(at.cast());
                }
            }
            for (index, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the rows reach as far as just checked.
                let prob =
                    unsafe { broadcast(self.probs.as_ptr().add(index * pairs_of_row + pair)) };
                for (sum, values) in sums.iter_mut().zip(values) {
                    *sum = _mm512_dpwssd_epi32(*sum, prob, values);
                }
            }
        }
        for (index, sums) in sums.iter().enumerate() {
            for (column, &sum) in sums.iter().enumerate() {
                // SAFETY: the scales and the rows of the result reach as far as just checked.
                unsafe {
                    let scales = _mm512_loadu_ps(self.scales.as_ptr().add(column * LANES));
                    let to = self.attended.as_mut_ptr().add(index * row + column * LANES);
                    let attended = _mm512_loadu_ps(to);
                    let sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scales, attended);
                    _mm512_storeu_ps(to, sum);
                }
            }
        }
    }
}

/// A pair in all lanes.
///
/// # Safety
///
/// The processor has AVX-512, and the pair can be read.
#[inline(always)]
unsafe fn broadcast(pair: *const Pair) -> __m512i {
    // SAFETY: as the caller promises.
    unsafe { _mm512_set1_epi32(pair.cast::<i32>().read()) }
}
