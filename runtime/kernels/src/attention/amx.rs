//! Attention with the tile registers of x86-64's AMX, which multiply bfloat16 and add in float32.
//!
//! Each factor is split in two: the nearest bfloat16, and the nearest bfloat16 of the remainder.
//! Two split factors have four products. The three largest are added, which gives the product of
//! the factors within 2^-16. (Henry, Tang and Heinecke: Leveraging the bfloat16 Artificial
//! Intelligence Datatype For Higher-Precision Computations, ARITH 2019; Intel 64 and IA-32
//! Architectures Software Developer's Manual, `TDPBF16PS`.)

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;

use super::kernel::cap;
use super::pattern::Pattern;
use super::self_attention_head::SelfAttentionHead;
use crate::cpu::features;
use crate::simd::amx::{ElementType, ROW_BYTES, ROWS, TileRegisters};
use crate::simd::exp::{LN_2, SERIES};
use crate::simd::lanes::LANES;

/// Rows and columns of a [`SplitBlock`].
const SIDE: usize = 2 * ROWS;
/// Queries that share a pass over the keys. Their probabilities stay in the second-level cache.
const QUERIES: usize = 2 * SIDE;

/// Content of a tile register: pairs of bfloat16.
type Register = [[u32; ROWS]; ROWS];

/// A split block of 32 rows (left factor) or columns (right factor) of 32 terms each. Its registers
/// hold the nearest bfloat16 of the first sixteen rows or columns, their remainders, and the same
/// for the other sixteen. Each row of a left factor's register is a row of the matrix. Each row of
/// a right factor's register holds a pair of terms of every column.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct SplitBlock([Register; 4]);

impl SplitBlock {
    const ZERO: Self = Self([[[0; ROWS]; ROWS]; 4]);
}

/// Scratch memory that each thread keeps. The blocks of the first 32 rows or columns come first,
/// then those of the next 32, and so on.
#[derive(Default)]
struct Scratch {
    queries: Vec<SplitBlock>,
    keys: Vec<SplitBlock>,
    values: Vec<SplitBlock>,
    /// Scores: `[QUERIES, positions]`, both rounded up to whole blocks.
    scores: Vec<f32>,
    probs: Vec<SplitBlock>,
    /// Results: `[QUERIES, size]`, both rounded up to whole blocks.
    attended: Vec<f32>,
    /// Biases by distance.
    bias: Vec<f32>,
}

/// Whether the processor has AMX over bfloat16 and this process may use it.
pub(super) fn is_available() -> bool {
    features().amx_bf16
}

/// Whether this kernel computes such an attention: every query sees all tokens and nothing else.
pub(super) fn can_attend(head: &SelfAttentionHead<'_>) -> bool {
    head.pattern == Pattern::Full && head.globals.is_none()
}

/// Attends with all queries. `put` gets the index of each query, from 0 on, and its result. The
/// result of a query does not depend on the other queries.
pub(super) fn attend(head: &SelfAttentionHead<'_>, put: impl FnMut(usize, &[f32])) {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    assert!(is_available(), "tile registers that multiply bfloat16");
    debug_assert!(can_attend(head), "all tokens and nothing else");
    SCRATCH.with_borrow_mut(|scratch| {
        // SAFETY: the processor has the instructions.
        unsafe { attend_with(scratch, head, put) };
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn attend_with(
    scratch: &mut Scratch,
    head: &SelfAttentionHead<'_>,
    mut put: impl FnMut(usize, &[f32]),
) {
    let (size, length, rows) = (head.size, head.mask.length, head.positions.len());
    let (size_blocks, length_blocks) = (size.div_ceil(SIDE), length.div_ceil(SIDE));
    let (attended_row, score_row) = (size_blocks * SIDE, length_blocks * SIDE);
    let Scratch {
        queries: query_blocks,
        keys: key_blocks,
        values: value_blocks,
        scores,
        probs: prob_blocks,
        attended,
        bias,
    } = scratch;
    // The biases of a query's keys are a slice. The slice of the next query begins one earlier.
    let last = head.positions.end - 1;
    if let Some(head_bias) = head.bias {
        head_bias.expand(-(last as isize), length + rows, bias);
    }
    key_blocks.resize(length_blocks * size_blocks, SplitBlock::ZERO);
    value_blocks.resize(size_blocks * length_blocks, SplitBlock::ZERO);
    query_blocks.resize(QUERIES / SIDE * size_blocks, SplitBlock::ZERO);
    scores.resize(QUERIES * score_row, 0.0);
    prob_blocks.resize(QUERIES / SIDE * length_blocks, SplitBlock::ZERO);
    attended.resize(QUERIES * attended_row, 0.0);
    let to_rows = |matrix, stride, count| Rows { matrix, stride, size, count };
    let [keys, values] =
        [head.keys, head.values].map(|matrix| to_rows(matrix, head.kv_stride, length));
    for (index, block) in key_blocks.iter_mut().enumerate() {
        split_keys(&keys, [index / size_blocks, index % size_blocks], block);
    }
    for (index, block) in value_blocks.iter_mut().enumerate() {
        split_values(&values, [index % length_blocks, index / length_blocks], block);
    }
    // One over the sum of each query's probabilities.
    let mut inv_sums = [0.0; QUERIES];
    let mut registers = TileRegisters::new(ElementType::Bfloat16);
    for first in (0..rows).step_by(QUERIES) {
        let count = QUERIES.min(rows - first);
        let queries = to_rows(&head.queries[first * head.stride..], head.stride, count);
        // After the last query, its block has rows of zeros, and the block of its probabilities has
        // rows of old values. No row of a product depends on another row, and the products of these
        // rows are not read.
        let row_blocks = count.div_ceil(SIDE);
        let query_blocks = &mut query_blocks[..row_blocks * size_blocks];
        for (index, block) in query_blocks.iter_mut().enumerate() {
            split_rows(&queries, [index / size_blocks, index % size_blocks], block);
        }
        for (column, keys) in key_blocks.chunks_exact(size_blocks).enumerate() {
            for (row, queries) in query_blocks.chunks_exact(size_blocks).enumerate() {
                let scores = &mut scores[row * SIDE * score_row + column * SIDE..];
                multiply(&mut registers, queries, keys, scores, score_row);
            }
        }
        for index in 0..count {
            let scores = &mut scores[index * score_row..][..score_row];
            let query = head.positions.start + first + index;
            let bias = head.bias.map(|_| &bias[last - query..]);
            for score in &mut scores[..length] {
                *score *= head.scale;
            }
            if let Some(softcap) = head.softcap {
                cap(&mut scores[..length], softcap);
            }
            head.mask.apply(scores, bias);
            let probs = &mut prob_blocks[index / SIDE * length_blocks..][..length_blocks];
            inv_sums[index] = exp_and_inv_sum(scores, probs, index % SIDE);
        }
        let prob_blocks = &prob_blocks[..row_blocks * length_blocks];
        for (column, values) in value_blocks.chunks_exact(length_blocks).enumerate() {
            for (row, probs) in prob_blocks.chunks_exact(length_blocks).enumerate() {
                let attended = &mut attended[row * SIDE * attended_row + column * SIDE..];
                multiply(&mut registers, probs, values, attended, attended_row);
            }
        }
        let results = attended.chunks_exact_mut(attended_row);
        for (index, attended) in results.enumerate().take(count) {
            for value in &mut *attended {
                *value *= inv_sums[index];
            }
            put(first + index, attended);
        }
    }
}

/// Multiplies a row of blocks with a column of blocks of the same length, at least one. Writes 32
/// rows of 32 products, at a distance of `stride`.
fn multiply(
    registers: &mut TileRegisters,
    left: &[SplitBlock],
    right: &[SplitBlock],
    products: &mut [f32],
    stride: usize,
) {
    const { assert!(size_of::<SplitBlock>() == 4096 && size_of::<[u32; ROWS]>() == ROW_BYTES) };
    registers.configure([ROWS as u8; 8]);
    assert!(
        left.len() == right.len()
            && !left.is_empty()
            && stride >= SIDE
            && products.len() >= (SIDE - 1) * stride + SIDE,
        "as many blocks on both sides, and memory for their products"
    );
    let products = products.as_mut_ptr();
    // SAFETY: the loop reads all blocks of both factors, then writes 32 rows of 32 products, as
    // just checked. The registers are configured and not in other use.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{left} + {register_row}]",
            "tileloadd tmm5, [{left} + {register_row} + 2048]",
            "tileloadd tmm6, [{right} + {register_row}]",
            "tileloadd tmm7, [{right} + {register_row} + 2048]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm6, [{right} + {register_row} + 1024]",
            "tileloadd tmm7, [{right} + {register_row} + 3072]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm4, [{left} + {register_row} + 1024]",
            "tileloadd tmm5, [{left} + {register_row} + 3072]",
            "tileloadd tmm6, [{right} + {register_row}]",
            "tileloadd tmm7, [{right} + {register_row} + 2048]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {left}, 4096",
            "add {right}, 4096",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{upper} + {stride}], tmm0",
            "tilestored [{upper} + {stride} + 64], tmm1",
            "tilestored [{lower} + {stride}], tmm2",
            "tilestored [{lower} + {stride} + 64], tmm3",
            left = inout(reg) left.as_ptr() => _,
            right = inout(reg) right.as_ptr() => _,
            steps = inout(reg) left.len() => _,
            register_row = in(reg) ROW_BYTES,
            upper = in(reg) products,
            lower = in(reg) products.add(ROWS * stride),
            stride = in(reg) stride * size_of::<f32>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// `count` rows of a matrix, at a distance of `stride`, of which the first `size` columns count.
struct Rows<'a> {
    matrix: &'a [f32],
    stride: usize,
    size: usize,
    count: usize,
}

impl Rows<'_> {
    /// The columns of a row from `column` on; empty beyond the last row.
    fn columns_from(&self, row: usize, column: usize) -> &[f32] {
        match row < self.count {
            true => &self.matrix[row * self.stride..][..self.size][column.min(self.size)..],
            false => &[],
        }
    }
}

/// The first `max` values, 32 at most, padded with zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn load(values: &[f32], max: usize) -> [__m512; 2] {
    let count = values.len().min(max).min(SIDE);
    let mask = ((1_u64 << count) - 1) as u32;
    // SAFETY: the masks select the values that there are.
    unsafe {
        [
            _mm512_maskz_loadu_ps(mask as u16, values.as_ptr()),
            _mm512_maskz_loadu_ps((mask >> LANES) as u16, values.as_ptr().wrapping_add(LANES)),
        ]
    }
}

/// The nearest bfloat16 of 32 values, and the nearest bfloat16 of the remainders.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn split([first, second]: [__m512; 2]) -> [__m512i; 2] {
    let nearest = round([first, second]);
    let [first_nearest, second_nearest] = widen(nearest);
    let remainders = [
        _mm512_sub_ps(first, _mm512_castsi512_ps(first_nearest)),
        _mm512_sub_ps(second, _mm512_castsi512_ps(second_nearest)),
    ];
    [nearest, round(remainders)]
}

/// The nearest bfloat16 of 32 values.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn round([first, second]: [__m512; 2]) -> __m512i {
    // SAFETY: both types have 512 bits, and any bits are valid.
    unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(second, first)) }
}

/// Widens 32 bfloat16 numbers to float32, whose upper halves they are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn widen(halves: __m512i) -> [__m512i; 2] {
    let first = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(halves));
    let second = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(halves));
    [_mm512_slli_epi32::<16>(first), _mm512_slli_epi32::<16>(second)]
}

/// Stores a row of a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn store_row(row: &mut [u32; ROWS], values: __m512i) {
    // SAFETY: a row of a register has 512 bits.
    unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), values) };
}

/// Stores a split row of a left factor.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn store(block: &mut SplitBlock, row: usize, split: [__m512i; 2]) {
    for (part, values) in split.into_iter().enumerate() {
        store_row(&mut block.0[row / ROWS * 2 + part][row % ROWS], values);
    }
}

/// Turns scores, a multiple of 32 of them, into probabilities before normalization, which become
/// row `row` of a left factor's blocks. Returns one over their sum.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn exp_and_inv_sum(scores: &[f32], blocks: &mut [SplitBlock], row: usize) -> f32 {
    let mut max = [_mm512_set1_ps(f32::NEG_INFINITY); 2];
    for scores in scores.chunks_exact(SIDE) {
        let [first, second] = load(scores, SIDE);
        max = [_mm512_max_ps(first, max[0]), _mm512_max_ps(second, max[1])];
    }
    let max = _mm512_set1_ps(_mm512_reduce_max_ps(_mm512_max_ps(max[0], max[1])));
    let mut sums = [_mm512_setzero_ps(); 2];
    for (scores, block) in scores.chunks_exact(SIDE).zip(blocks) {
        let [first, second] = load(scores, SIDE);
        let probs = [exp(_mm512_sub_ps(first, max)), exp(_mm512_sub_ps(second, max))];
        sums = [_mm512_add_ps(sums[0], probs[0]), _mm512_add_ps(sums[1], probs[1])];
        store(block, row, split(probs));
    }
    1.0 / _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]))
}

/// `e^x` for `x` of at most 0, within 2 ulp; NaN for NaN. It is [`crate::simd::exp::exp`] with the
/// rounding and scaling instructions of AVX-512.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn exp(x: __m512) -> __m512 {
    /// Below this the result is 0.
    const UNDERFLOW: f32 = -150.0;
    /// Rounding to the nearest integer, without exceptions.
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    // If `x` is NaN, so is the maximum, because `x` is the second operand.
    let x = _mm512_max_ps(_mm512_set1_ps(UNDERFLOW), x);
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

/// Splits a block of a left factor. Its rows are rows of the matrix.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn split_rows(rows: &Rows<'_>, [row, column]: [usize; 2], block: &mut SplitBlock) {
    for index in 0..SIDE {
        let values = rows.columns_from(row * SIDE + index, column * SIDE);
        store(block, index, split(load(values, SIDE)));
    }
}

/// Splits a block of a right factor. Its columns are rows of the matrix, so pairs of terms are
/// transposed.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn split_keys(rows: &Rows<'_>, position: [usize; 2], block: &mut SplitBlock) {
    let mut plain = SplitBlock::ZERO;
    split_rows(rows, position, &mut plain);
    for (from, to) in plain.0.iter().zip(&mut block.0) {
        for (pair, to) in to.iter_mut().enumerate() {
            for (column, to) in to.iter_mut().enumerate() {
                *to = from[column][pair];
            }
        }
    }
}

/// Splits a block of a right factor. Two rows of the matrix make one row of pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn split_values(rows: &Rows<'_>, [row, column]: [usize; 2], block: &mut SplitBlock) {
    for pair in 0..ROWS {
        let row = row * SIDE + 2 * pair;
        for half in 0..2 {
            let column = column * SIDE + half * ROWS;
            let [first, _] = load(rows.columns_from(row, column), ROWS);
            let [second, _] = load(rows.columns_from(row + 1, column), ROWS);
            for (part, values) in split([first, second]).into_iter().enumerate() {
                let [first, second] = widen(values);
                let pairs = _mm512_or_si512(_mm512_srli_epi32::<16>(first), second);
                store_row(&mut block.0[half * 2 + part][pair], pairs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[target_feature(enable = "avx512f")]
    fn exp_of(x: f32) -> f32 {
        // SAFETY: the caller checked that the processor has the instructions.
        unsafe { _mm512_cvtss_f32(exp(_mm512_set1_ps(x))) }
    }

    #[test]
    fn the_exponential_is_within_two_ulp_and_its_ends_are_defined() {
        if !is_available() {
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
