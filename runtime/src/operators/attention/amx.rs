//! Attention with the tile registers of x86-64's AMX, which multiply bfloat16 and add in float32.
//!
//! A factor is split in two: the nearest bfloat16, and the nearest of what is left of it. Of the four products of two split
//! factors the three largest are added, within 2^-16 of the factors' product. (Henry, Tang and Heinecke: Leveraging the
//! bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations, ARITH 2019; Intel 64 and IA-32
//! Architectures Software Developer's Manual, `TDPBF16PS`.)

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;

use super::source::Source;
use crate::simd::amx::{self, Factors, LINE, LINES, Tiles};
use crate::simd::exp::{LN_2, SERIES};
use crate::simd::lanes::LANES;

/// Rows and columns of a [`Square`].
const SIDE: usize = 2 * LINES;
/// Queries that share a pass over the keys: their weights stay in the second-level cache.
const QUERIES: usize = 2 * SIDE;

/// Pairs of bfloat16, as a tile register takes them.
type Register = [[u32; LINES]; LINES];

/// Factors of 32 sums times 32 terms, split: the nearest numbers of the first sixteen sums, what is left of them, and both
/// of the other sixteen sums. Each line of a left factor is a row, a term after the other. In a right factor each pair of a
/// line is of another column, and each line of other terms.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Square([Register; 4]);

impl Square {
    const ZERO: Self = Self([[[0; LINES]; LINES]; 4]);
}

/// Room that each thread keeps. Squares lie term by term, those of the next rows or columns behind.
#[derive(Default)]
struct Room {
    queries: Vec<Square>,
    keys: Vec<Square>,
    values: Vec<Square>,
    /// `[QUERIES, positions]`, both rounded up to whole squares.
    scores: Vec<f32>,
    weights: Vec<Square>,
    /// `[QUERIES, size]`, both rounded up to whole squares.
    attended: Vec<f32>,
}

/// Whether the processor has the instructions, and this process may use them.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bf16")
        && amx::available(Factors::Bfloat16)
}

/// Attends with all of a head's queries; `put` gets the number of each and its result. Each is the same whatever the others
/// are.
pub(super) fn attend(source: &Source<'_>, put: impl FnMut(usize, &[f32])) {
    thread_local! {
        static ROOM: RefCell<Room> = RefCell::default();
    }
    assert!(available(), "tile registers that multiply bfloat16");
    ROOM.with_borrow_mut(|room| {
        // SAFETY: the processor has the instructions.
        unsafe { attend_in(room, source, put) };
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn attend_in(room: &mut Room, source: &Source<'_>, mut put: impl FnMut(usize, &[f32])) {
    let (size, length) = (source.size, source.visible.length);
    let (of_size, of_length) = (size.div_ceil(SIDE), length.div_ceil(SIDE));
    let (row, line) = (of_size * SIDE, of_length * SIDE);
    room.keys.resize(of_length * of_size, Square::ZERO);
    room.values.resize(of_size * of_length, Square::ZERO);
    room.queries.resize(QUERIES / SIDE * of_size, Square::ZERO);
    room.scores.resize(QUERIES * line, 0.0);
    room.weights
        .resize(QUERIES / SIDE * of_length, Square::ZERO);
    room.attended.resize(QUERIES * row, 0.0);
    let rows_of = |matrix, count| Rows {
        matrix,
        stride: source.stride,
        size,
        count,
    };
    let (keys, values) = (rows_of(source.keys, length), rows_of(source.values, length));
    for (index, square) in room.keys.iter_mut().enumerate() {
        split_keys(&keys, [index / of_size, index % of_size], square);
    }
    for (index, square) in room.values.iter_mut().enumerate() {
        split_values(&values, [index % of_length, index / of_length], square);
    }
    // What each query's weights are to be multiplied with.
    let mut shares = [0.0; QUERIES];
    let mut tiles = Tiles::of(Factors::Bfloat16);
    for first in (0..source.rows).step_by(QUERIES) {
        let count = QUERIES.min(source.rows - first);
        let queries = rows_of(&source.queries[first * source.stride..], count);
        // Squares of queries: behind the last query there are zeros, and behind its weights whatever was there before. No
        // row of a product depends on the others, and what comes of these is not looked at.
        let squares = count.div_ceil(SIDE);
        for (index, square) in room.queries[..squares * of_size].iter_mut().enumerate() {
            split_rows(&queries, [index / of_size, index % of_size], square);
        }
        for (block, keys) in room.keys.chunks_exact(of_size).enumerate() {
            for (square, queries) in room.queries.chunks_exact(of_size).enumerate().take(squares) {
                let scores = &mut room.scores[square * SIDE * line + block * SIDE..];
                multiply(&mut tiles, queries, keys, scores, line);
            }
        }
        for index in 0..count {
            let scores = &mut room.scores[index * line..][..line];
            let bias = source
                .bias
                .map(|bias| &bias[(first + index) * source.rows..]);
            for score in &mut scores[..length] {
                *score *= source.scale;
            }
            source.visible.bias(scores, bias);
            let weights = &mut room.weights[index / SIDE * of_length..][..of_length];
            shares[index] = exponentials(scores, weights, index % SIDE);
        }
        for (block, values) in room.values.chunks_exact(of_length).enumerate() {
            let weights = room.weights.chunks_exact(of_length).enumerate();
            for (square, weights) in weights.take(squares) {
                let attended = &mut room.attended[square * SIDE * row + block * SIDE..];
                multiply(&mut tiles, weights, values, attended, row);
            }
        }
        for (index, attended) in room.attended.chunks_exact_mut(row).enumerate().take(count) {
            for value in &mut *attended {
                *value *= shares[index];
            }
            put(first + index, attended);
        }
    }
}

/// Multiplies a row of squares with a column of as many, at least one, and writes the products, 32 every `line`.
fn multiply(
    tiles: &mut Tiles,
    left: &[Square],
    right: &[Square],
    products: &mut [f32],
    line: usize,
) {
    const { assert!(size_of::<Square>() == 4096 && size_of::<[u32; LINES]>() == LINE) };
    tiles.configure([LINES as u8; 8]);
    assert!(
        left.len() == right.len()
            && !left.is_empty()
            && line >= SIDE
            && products.len() >= (SIDE - 1) * line + SIDE,
        "as many squares, and room for their products"
    );
    let products = products.as_mut_ptr();
    // SAFETY: the loop reads as many squares as there are of both, then writes 32 lines of 32 products, as just
    // checked. The registers are configured, and in no other use.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{left} + {register_line}]",
            "tileloadd tmm5, [{left} + {register_line} + 2048]",
            "tileloadd tmm6, [{right} + {register_line}]",
            "tileloadd tmm7, [{right} + {register_line} + 2048]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm6, [{right} + {register_line} + 1024]",
            "tileloadd tmm7, [{right} + {register_line} + 3072]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm4, [{left} + {register_line} + 1024]",
            "tileloadd tmm5, [{left} + {register_line} + 3072]",
            "tileloadd tmm6, [{right} + {register_line}]",
            "tileloadd tmm7, [{right} + {register_line} + 2048]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {left}, 4096",
            "add {right}, 4096",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{upper} + {line}], tmm0",
            "tilestored [{upper} + {line} + 64], tmm1",
            "tilestored [{lower} + {line}], tmm2",
            "tilestored [{lower} + {line} + 64], tmm3",
            left = inout(reg) left.as_ptr() => _,
            right = inout(reg) right.as_ptr() => _,
            steps = inout(reg) left.len() => _,
            register_line = in(reg) LINE,
            upper = in(reg) products,
            lower = in(reg) products.add(LINES * line),
            line = in(reg) line * size_of::<f32>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Rows of a matrix: `size` columns of one every `stride`.
struct Rows<'a> {
    matrix: &'a [f32],
    stride: usize,
    size: usize,
    count: usize,
}

impl Rows<'_> {
    /// The columns of a row from one on, none where there is no such row.
    fn from(&self, row: usize, column: usize) -> &[f32] {
        match row < self.count {
            true => &self.matrix[row * self.stride..][..self.size][column.min(self.size)..],
            false => &[],
        }
    }
}

/// Up to so many numbers, at most 32, and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn load(numbers: &[f32], most: usize) -> [__m512; 2] {
    let count = numbers.len().min(most).min(SIDE);
    let mask = ((1_u64 << count) - 1) as u32;
    // SAFETY: the masks show the numbers that there are.
    unsafe {
        [
            _mm512_maskz_loadu_ps(mask as u16, numbers.as_ptr()),
            _mm512_maskz_loadu_ps((mask >> LANES) as u16, numbers.as_ptr().wrapping_add(LANES)),
        ]
    }
}

/// The nearest bfloat16 of 32 numbers, and the nearest of what is left.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn split([first, second]: [__m512; 2]) -> [__m512i; 2] {
    let nearest = round([first, second]);
    let [of_first, of_second] = widen(nearest);
    let left = [
        _mm512_sub_ps(first, _mm512_castsi512_ps(of_first)),
        _mm512_sub_ps(second, _mm512_castsi512_ps(of_second)),
    ];
    [nearest, round(left)]
}

/// The nearest bfloat16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn round([first, second]: [__m512; 2]) -> __m512i {
    // SAFETY: both are 512 bits of which any stand for something.
    unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(second, first)) }
}

/// bfloat16 as the upper halves of 32 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn widen(halves: __m512i) -> [__m512i; 2] {
    let first = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(halves));
    let second = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(halves));
    [
        _mm512_slli_epi32::<16>(first),
        _mm512_slli_epi32::<16>(second),
    ]
}

/// Stores a line of a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn store_line(line: &mut [u32; LINES], numbers: __m512i) {
    // SAFETY: a line is as long.
    unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), numbers) };
}

/// Stores a split line of a left factor.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn store(square: &mut Square, row: usize, split: [__m512i; 2]) {
    for (part, numbers) in split.into_iter().enumerate() {
        store_line(&mut square.0[row / LINES * 2 + part][row % LINES], numbers);
    }
}

/// Turns scores, a multiple of 32 of them, into weights, a row of a left factor's squares, and gives what makes of them
/// shares of 1.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn exponentials(scores: &[f32], squares: &mut [Square], row: usize) -> f32 {
    let mut most = [_mm512_set1_ps(f32::NEG_INFINITY); 2];
    for scores in scores.chunks_exact(SIDE) {
        let [first, second] = load(scores, SIDE);
        most = [
            _mm512_max_ps(first, most[0]),
            _mm512_max_ps(second, most[1]),
        ];
    }
    let most = _mm512_set1_ps(_mm512_reduce_max_ps(_mm512_max_ps(most[0], most[1])));
    let mut sums = [_mm512_setzero_ps(); 2];
    for (scores, square) in scores.chunks_exact(SIDE).zip(squares) {
        let [first, second] = load(scores, SIDE);
        let weights = [
            exp(_mm512_sub_ps(first, most)),
            exp(_mm512_sub_ps(second, most)),
        ];
        sums = [
            _mm512_add_ps(sums[0], weights[0]),
            _mm512_add_ps(sums[1], weights[1]),
        ];
        store(square, row, split(weights));
    }
    1.0 / _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]))
}

/// e to the power of numbers that are at most 0, within 2 ulp: as [`crate::simd::exp::exp`], with what this processor has
/// for it. NaN for NaN.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn exp(x: __m512) -> __m512 {
    /// Below this the result is 0, whatever it is.
    const LEAST: f32 = -150.0;
    /// Nearest integers, without exceptions.
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    // The second number is taken where one of them is NaN.
    let x = _mm512_max_ps(_mm512_set1_ps(LEAST), x);
    let power =
        _mm512_roundscale_ps::<NEAREST>(_mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E)));
    let rest = _mm512_fnmadd_ps(power, _mm512_set1_ps(LN_2[0]), x);
    let rest = _mm512_fnmadd_ps(power, _mm512_set1_ps(LN_2[1]), rest);
    let mut series = _mm512_set1_ps(SERIES[0]);
    for coefficient in &SERIES[1..] {
        series = _mm512_fmadd_ps(series, rest, _mm512_set1_ps(*coefficient));
    }
    let linear = _mm512_add_ps(rest, _mm512_set1_ps(1.0));
    let mantissa = _mm512_fmadd_ps(series, _mm512_mul_ps(rest, rest), linear);
    _mm512_scalef_ps(mantissa, power)
}

/// A square of a left factor: rows as they are.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn split_rows(rows: &Rows<'_>, [row, column]: [usize; 2], square: &mut Square) {
    for index in 0..SIDE {
        let numbers = rows.from(row * SIDE + index, column * SIDE);
        store(square, index, split(load(numbers, SIDE)));
    }
}

/// A square of a right factor whose columns are rows: sixteen times sixteen pairs, transposed.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn split_keys(rows: &Rows<'_>, place: [usize; 2], square: &mut Square) {
    let mut plain = Square::ZERO;
    split_rows(rows, place, &mut plain);
    for (from, to) in plain.0.iter().zip(&mut square.0) {
        for (pair, to) in to.iter_mut().enumerate() {
            for (column, to) in to.iter_mut().enumerate() {
                *to = from[column][pair];
            }
        }
    }
}

/// A square of a right factor whose terms are rows: two rows together make a line of pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn split_values(rows: &Rows<'_>, [row, column]: [usize; 2], square: &mut Square) {
    for pair in 0..LINES {
        let row = row * SIDE + 2 * pair;
        for half in 0..2 {
            let column = column * SIDE + half * LINES;
            let [first, _] = load(rows.from(row, column), LINES);
            let [second, _] = load(rows.from(row + 1, column), LINES);
            for (part, numbers) in split([first, second]).into_iter().enumerate() {
                let [first, second] = widen(numbers);
                let pairs = _mm512_or_si512(_mm512_srli_epi32::<16>(first), second);
                store_line(&mut square.0[half * 2 + part][pair], pairs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[target_feature(enable = "avx512f")]
    fn exp_of(x: f32) -> f32 {
        // SAFETY: the caller saw to the instructions.
        unsafe { _mm512_cvtss_f32(exp(_mm512_set1_ps(x))) }
    }

    #[test]
    fn the_exponential_is_within_two_ulp_and_its_ends_are_defined() {
        if !available() {
            return;
        }
        // SAFETY: the processor has the instructions.
        let exp = |x| unsafe { exp_of(x) };
        for step in 0..1_000_000 {
            let x = -87.0 * (step as f32 / 1_000_000.0);
            let exact = f64::from(x).exp();
            let near = exact as f32;
            let ulp = f64::from(f32::from_bits(near.to_bits() + 1)) - f64::from(near);
            let error = (f64::from(exp(x)) - exact).abs() / ulp;
            assert!(error < 2.0, "e^{x} is off by {error} ulp");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }
}
