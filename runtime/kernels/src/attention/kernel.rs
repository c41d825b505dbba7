//! Attention of some queries of one head over packed keys and values.

use std::fmt::Debug;
use std::ops::Range;

use half::f16;

use super::element::StoredElement;
use super::padding::padded_head_size;
use crate::simd::exp::exp;
use crate::simd::lanes::{LANES, Lanes, Microkernel, dispatch_lanes};
use crate::simd::prefetch::{L1, Prefetch};
use crate::simd::tanh::tanh;

/// Queries of a tile, at most.
pub(super) const MAX_ROWS: usize = 6;
/// Blocks of keys that are multiplied with all queries while they are in the first-level cache.
const BLOCKS: usize = 4;
/// Positions whose values are weighted for all queries while they are in the first-level cache.
const POSITIONS: usize = 64;
/// Rows of values that are prefetched ahead.
const PREFETCH_DISTANCE: usize = 8;

/// Queries of one head, and the keys and values that they attend to.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a, E> {
    /// Queries: `[rows, stride]`. The first `size` columns are the head's.
    pub(super) queries: &'a [f32],
    pub(super) rows: usize,
    pub(super) stride: usize,
    /// Size of the head.
    pub(super) size: usize,
    /// Keys and values. The scores of one segment at a time are in memory.
    pub(super) segments: &'a [Segment<'a, E>],
    /// Whether to prefetch keys and values, because they are not in a cache.
    pub(super) prefetch: bool,
    /// Scale of the scores.
    pub(super) scale: f32,
    /// Soft cap of the scores.
    pub(super) softcap: Option<f32>,
}

/// Keys and values of successive positions, and what each query sees of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a, E> {
    /// Packed keys. For a [`StoredElement`], their scales, then `[blocks, size, LANES]`.
    pub(super) keys: &'a [E],
    /// Packed values. For a [`StoredElement`], their scales, then `[positions, padded head size]`.
    pub(super) values: &'a [E],
    /// Scales of the keys and of the columns of the values, if `keys` and `values` do not hold
    /// them.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "only the rounded kernel of x86-64 has separate scales")
    )]
    pub(super) scales: [&'a [f32]; 2],
    pub(super) view: View<'a>,
}

/// The positions of a segment that queries see, and the biases of their scores.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) mask: KeyMask<'a>,
    /// The positions that each query sees. If it is empty, every query sees all positions.
    pub(super) rows: &'a [SegmentRow],
    /// Biases of the scores. Those of a query begin at its [`SegmentRow::bias`].
    pub(super) bias: Option<&'a [f32]>,
}

/// The positions of a segment that a query sees.
#[derive(Clone, Debug)]
pub(super) struct SegmentRow {
    /// Positions that the query sees, counted from the first of the segment.
    pub(super) seen: Range<usize>,
    /// Index of the bias of the segment's first position.
    pub(super) bias: usize,
}

impl<E> Segment<'_, E> {
    /// Number of positions.
    pub(super) fn length(&self) -> usize {
        self.view.mask.length
    }

    /// Length of a row of scores.
    pub(super) fn stride(&self) -> usize {
        self.length().next_multiple_of(LANES)
    }
}

impl View<'_> {
    /// Adds the bias to the scores of a query, and sets the scores of positions that the query does
    /// not see to minus infinity.
    #[inline(always)]
    fn apply(&self, row: usize, scores: &mut [f32]) {
        let Some(row) = self.rows.get(row) else {
            return self.mask.apply(scores, None);
        };
        self.mask.apply(scores, self.bias.map(|bias| &bias[row.bias..]));
        scores[..row.seen.start].fill(f32::NEG_INFINITY);
        scores[row.seen.end..].fill(f32::NEG_INFINITY);
    }
}

/// Mask of the positions that may be attended to.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyMask<'a> {
    /// Positions up to the last visible one. The kernels do not read further ones.
    pub(super) length: usize,
    /// 0 for each hidden position. `None` if all positions below `length` are visible.
    hidden: Option<&'a [i32]>,
}

impl<'a> KeyMask<'a> {
    /// Mask of the tokens of a document, 0 for padding. If the mask hides all positions, all become
    /// visible. Then every position has the same probability, as in transformers, which gives a
    /// masked score the smallest finite number.
    pub(super) fn new(mask: &'a [i32]) -> Self {
        match Self::or_empty(mask) {
            Self { length: 0, .. } => Self { length: mask.len(), hidden: None },
            some => some,
        }
    }

    /// As [`new`](Self::new), but a mask of zeros has length 0.
    pub(super) fn or_empty(mask: &'a [i32]) -> Self {
        let length = mask.iter().rposition(|&visible| visible != 0).map_or(0, |last| last + 1);
        let mask = &mask[..length];
        Self { length, hidden: mask.contains(&0).then_some(mask) }
    }

    /// Mask of a range of the positions, which must end at `length` or before.
    pub(super) fn slice(&self, positions: Range<usize>) -> Self {
        let length = positions.len();
        let hidden = self.hidden.filter(|_| length > 0);
        Self { length, hidden: hidden.map(|mask| &mask[positions]) }
    }

    /// Whether this position may be attended to.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn is_visible(&self, position: usize) -> bool {
        position < self.length && self.hidden.is_none_or(|mask| mask[position] != 0)
    }

    /// Mask that hides nothing.
    pub(super) fn all(length: usize) -> Self {
        Self { length, hidden: None }
    }

    /// Adds a bias to a row of scores, and sets the scores of hidden positions and of padding to
    /// minus infinity.
    #[inline(always)]
    pub(super) fn apply(&self, scores: &mut [f32], bias: Option<&[f32]>) {
        let (visible, padding) = scores.split_at_mut(self.length);
        if let Some(bias) = bias {
            for (score, bias) in visible.iter_mut().zip(bias) {
                *score += bias;
            }
        }
        if let Some(mask) = self.hidden {
            for (score, &visible) in visible.iter_mut().zip(mask) {
                *score = if visible == 0 { f32::NEG_INFINITY } else { *score };
            }
        }
        padding.fill(f32::NEG_INFINITY);
    }
}

/// Puts scores between `-softcap` and `softcap`.
#[inline(always)]
pub(super) fn cap(scores: &mut [f32], softcap: f32) {
    for score in scores {
        *score = tanh(*score / softcap) * softcap;
    }
}

/// Scratch memory of [`attend`](StoredKv::attend).
#[derive(Debug, Default)]
pub struct Scratch {
    /// Scores of a segment, then probabilities before normalization: `[rows, length rounded up to
    /// LANES]`.
    pub(super) probs: Vec<f32>,
    /// Softmax of each row.
    pub(super) softmax: Vec<Softmax>,
    /// The result: `[rows, padded head size]`.
    pub(super) attended: Vec<f32>,
}

/// Whether there are registers for the sums of every tile.
const fn is_wide<L: Lanes>() -> bool {
    L::ACCUMULATORS >= 4 * MAX_ROWS
}

/// Computes a tile of `$rows` rows and as many of the `$left` vectors side by side as there are
/// registers for. Returns the number of vectors, at least one. The constant blocks keep tiles that
/// are never reached from being compiled.
macro_rules! compute {
    ($lanes:ident, $rows:expr, $left:expr, $tile:expr) => {
        match ($rows, $left) {
            (1, 4..) => compute!($lanes, 1 x 4, $tile),
            (2, 4..) if const { is_wide::<$lanes>() } => compute!($lanes, 2 x 4, $tile),
            (3, 4..) if const { is_wide::<$lanes>() } => compute!($lanes, 3 x 4, $tile),
            (4, 4..) if const { is_wide::<$lanes>() } => compute!($lanes, 4 x 4, $tile),
            (5, 4..) if const { is_wide::<$lanes>() } => compute!($lanes, 5 x 4, $tile),
            (MAX_ROWS, 4..) if const { is_wide::<$lanes>() } => {
                compute!($lanes, MAX_ROWS x 4, $tile)
            }
            (2, 2..) => compute!($lanes, 2 x 2, $tile),
            (3, 2..) => compute!($lanes, 3 x 2, $tile),
            (1, _) => compute!($lanes, 1 x 1, $tile),
            (2, _) => compute!($lanes, 2 x 1, $tile),
            (3, _) => compute!($lanes, 3 x 1, $tile),
            (4, _) => compute!($lanes, 4 x 1, $tile),
            (5, _) => compute!($lanes, 5 x 1, $tile),
            _ => compute!($lanes, MAX_ROWS x 1, $tile),
        }
    };
    ($lanes:ident, $rows:tt x $columns:tt, $tile:expr) => {{
        // SAFETY: these microkernels check for themselves what they read and write.
        unsafe { $lanes::compute::<_, $rows, $columns>($tile) };
        $columns
    }};
}

/// How keys and values are stored, and multiplied with queries and probabilities.
pub(super) trait KvElement: Copy + Debug {
    /// Memory for the left factors, if they are converted before the multiplication.
    type Factors;

    /// Computes the scores of all queries of a head with all keys of a segment:
    /// `[rows, stride]` with the [`stride`](Segment::stride) of the segment.
    fn scores<L: Lanes>(
        head: &Head<'_, Self>,
        segment: &Segment<'_, Self>,
        factors: &mut Self::Factors,
        scores: &mut [f32],
    );

    /// Turns the scores of a query, a multiple of [`LANES`] of them, into probabilities before
    /// normalization. Returns the factor for the probabilities of earlier segments.
    fn probabilities(
        softmax: &mut Softmax,
        scores: &mut [f32],
        query: usize,
        factors: &mut Self::Factors,
    ) -> f32;

    /// Adds the values of a segment, weighted with the [probabilities](Self::probabilities) of all
    /// queries, to `attended`, rows of [`padded_head_size`]. Afterwards the content of `probs` is
    /// unspecified.
    fn add_weighted<L: Lanes>(
        head: &Head<'_, Self>,
        segment: &Segment<'_, Self>,
        factors: &mut Self::Factors,
        probs: &mut [f32],
        attended: &mut [f32],
    );
}

/// Packed keys and values of successive positions.
pub(super) trait PackedKv: Default {
    /// Element type of the keys and values.
    type Element: KvElement<Factors: Default>;

    /// Packs the rows of a head up to the last visible one. `sizes` are the distance between two
    /// rows and the size of the head.
    fn pack(&mut self, keys_and_values: [&[f32]; 2], mask: KeyMask<'_>, sizes: [usize; 2]);

    /// The packed keys and values from position `first` on, a multiple of [`LANES`].
    fn segment<'a>(&'a self, first: usize, view: View<'a>) -> Segment<'a, Self::Element>;

    /// Attends with all rows of a head. Writes the results to `scratch.attended`.
    fn attend(
        head: &Head<'_, Self::Element>,
        factors: &mut <Self::Element as KvElement>::Factors,
        scratch: &mut Scratch,
    );
}

/// Attends with all rows of a head. Writes the results to `scratch.attended`.
#[inline(always)]
pub(super) fn attend_body<L: Lanes, E: KvElement>(
    head: &Head<'_, E>,
    factors: &mut E::Factors,
    scratch: &mut Scratch,
) {
    let row = padded_head_size(head.size);
    scratch.softmax.clear();
    scratch.softmax.resize(head.rows, Softmax::default());
    scratch.attended.clear();
    scratch.attended.resize(head.rows * row, 0.0);
    for segment in head.segments.iter().filter(|segment| segment.length() > 0) {
        attend_segment::<L, E>(head, segment, factors, scratch);
    }
    for (attended, softmax) in scratch.attended.chunks_exact_mut(row).zip(&scratch.softmax) {
        let inv_sum = softmax.inv_sum();
        for value in attended {
            *value *= inv_sum;
        }
    }
}

/// Adds the values of a segment, weighted with probabilities before normalization, to the result.
#[inline(always)]
fn attend_segment<L: Lanes, E: KvElement>(
    head: &Head<'_, E>,
    segment: &Segment<'_, E>,
    factors: &mut E::Factors,
    scratch: &mut Scratch,
) {
    let stride = segment.stride();
    let Scratch { probs, softmax, attended } = scratch;
    if probs.len() < head.rows * stride {
        probs.resize(head.rows * stride, 0.0);
    }
    let probs = &mut probs[..head.rows * stride];
    E::scores::<L>(head, segment, factors, probs);
    let results = attended.chunks_exact_mut(padded_head_size(head.size)).zip(softmax);
    for (index, (probs, (attended, softmax))) in
        probs.chunks_exact_mut(stride).zip(results).enumerate()
    {
        if let Some(softcap) = head.softcap {
            cap(probs, softcap);
        }
        segment.view.apply(index, probs);
        let factor = E::probabilities(softmax, probs, index, factors);
        if factor != 1.0 {
            for value in attended {
                *value *= factor;
            }
        }
    }
    E::add_weighted::<L>(head, segment, factors, probs, attended);
}

impl<E: StoredElement> KvElement for E {
    type Factors = ();

    #[inline(always)]
    fn scores<L: Lanes>(
        head: &Head<'_, Self>,
        segment: &Segment<'_, Self>,
        (): &mut (),
        scores: &mut [f32],
    ) {
        let stride = segment.stride();
        let (scales, keys) = segment.keys.split_at(stride * E::SCALE);
        // Some blocks at a time, so that their keys stay in the first-level cache for all rows.
        let blocks = stride / LANES;
        for first in (0..blocks).step_by(BLOCKS) {
            let end = (first + BLOCKS).min(blocks);
            for rows in tiles(head.rows) {
                let scores = &mut scores[rows.start * stride..];
                let mut block = first;
                while block < end {
                    let tile = Scores {
                        head,
                        keys,
                        first: rows.start,
                        first_block: block,
                        scores,
                        stride,
                    };
                    block += compute!(L, rows.len(), end - block, tile);
                }
            }
            let positions = first * LANES..end * LANES;
            scale_positions::<E>(scores, stride, positions, scales);
        }
    }

    #[inline(always)]
    fn probabilities(softmax: &mut Softmax, scores: &mut [f32], _: usize, (): &mut ()) -> f32 {
        softmax.add(scores)
    }

    #[inline(always)]
    fn add_weighted<L: Lanes>(
        head: &Head<'_, Self>,
        segment: &Segment<'_, Self>,
        (): &mut (),
        probs: &mut [f32],
        attended: &mut [f32],
    ) {
        let (length, stride) = (segment.length(), segment.stride());
        let row = padded_head_size(head.size);
        let (scales, values) = segment.values.split_at(stride * E::SCALE);
        for first in (0..length).step_by(POSITIONS) {
            let positions = first..(first + POSITIONS).min(length);
            scale_positions::<E>(probs, stride, positions.clone(), scales);
            for rows in tiles(head.rows) {
                let probs = &probs[rows.start * stride..];
                let mut column = 0;
                while column < row {
                    let tile = WeightedSum {
                        prefetch: head.prefetch,
                        probs,
                        values: &values[column..],
                        attended: &mut attended[rows.start * row + column..],
                        positions: positions.clone(),
                        stride,
                        row,
                    };
                    column += compute!(L, rows.len(), (row - column) / LANES, tile) * LANES;
                }
            }
        }
    }
}

/// Multiplies the columns `positions` of each row with the scales of these positions.
#[inline(always)]
fn scale_positions<E: StoredElement>(
    rows: &mut [f32],
    stride: usize,
    positions: Range<usize>,
    scales: &[E],
) {
    if E::SCALE > 0 {
        let scales = &scales[positions.start * E::SCALE..positions.end * E::SCALE];
        for row in rows.chunks_exact_mut(stride) {
            E::multiply(&mut row[positions.clone()], scales);
        }
    }
}

/// Cuts rows into tiles of [`MAX_ROWS`] at most.
pub(super) fn tiles(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let tile = rows.div_ceil(rows.div_ceil(MAX_ROWS).max(1)).max(1);
    (0..rows).step_by(tile).map(move |first| first..(first + tile).min(rows))
}

/// Microkernel that computes the scores of queries, from row `first` on, with blocks of keys, from
/// `first_block` on.
struct Scores<'a, E> {
    head: &'a Head<'a, E>,
    /// Packed keys of the segment, without their scales.
    keys: &'a [E],
    first: usize,
    first_block: usize,
    /// Scores of these queries with all keys: `[rows, stride]`.
    scores: &'a mut [f32],
    stride: usize,
}

impl<E: StoredElement> Microkernel for Scores<'_, E> {
    #[inline(always)]
    unsafe fn compute<L: Lanes, const MR: usize, const NR: usize>(self) {
        let Self { head, stride, .. } = self;
        let rows: [&[f32]; MR] = std::array::from_fn(|row| {
            &head.queries[(self.first + row) * head.stride..][..head.size]
        });
        let block_size = head.size * LANES;
        let keys = &self.keys[self.first_block * block_size..][..NR * block_size];
        let mut sums = [[L::splat(0.0); NR]; MR];
        for index in 0..head.size {
            // SAFETY: `index` is below the head's size, which is how long each row is and how many
            // times [`LANES`] each of the `NR` blocks is.
            unsafe {
                let mut loaded = [L::splat(0.0); NR];
                for (block, loaded) in loaded.iter_mut().enumerate() {
                    let keys = keys.as_ptr().add(block * block_size + index * LANES);
                    if head.prefetch {
                        L1::fetch(keys.wrapping_add(NR * block_size));
                    }
                    *loaded = E::load(&*keys.cast::<[E; LANES]>());
                }
                for row in 0..MR {
                    let query = L::splat(*rows[row].get_unchecked(index));
                    for block in 0..NR {
                        sums[row][block] = sums[row][block].add_product(query, loaded[block]);
                    }
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (block, sums) in sums.iter().enumerate() {
                let first = row * stride + (self.first_block + block) * LANES;
                let scores = self.scores[first..].first_chunk_mut();
                sums.times(L::splat(head.scale)).store(scores.expect("whole blocks"));
            }
        }
    }
}

/// Turns scores, a multiple of [`LANES`] of them, into probabilities.
#[inline(always)]
pub(super) fn softmax(scores: &mut [f32]) -> Softmax {
    let mut softmax = Softmax::default();
    softmax.add(scores);
    let inv_sum = softmax.inv_sum();
    for prob in scores {
        *prob *= inv_sum;
    }
    softmax
}

/// The number that is subtracted from scores whose largest is `max`. If no position is visible yet,
/// `max` is minus infinity and the number is 0.
#[inline(always)]
pub(super) fn shift(max: f32) -> f32 {
    if max == f32::NEG_INFINITY { 0.0 } else { max }
}

/// Online softmax of a row of scores that arrive in several parts. (Milakov and Gimelshein 2018,
/// "Online normalizer calculation for softmax".)
#[derive(Clone, Copy, Debug)]
pub(super) struct Softmax {
    /// Largest score so far.
    pub(super) max: f32,
    /// Sum of the probabilities before normalization.
    pub(super) sum: f32,
}

impl Default for Softmax {
    fn default() -> Self {
        Self { max: f32::NEG_INFINITY, sum: 0.0 }
    }
}

impl Softmax {
    /// Turns the next scores, a multiple of [`LANES`] of them, into probabilities before
    /// normalization. Returns the factor for the probabilities before them.
    #[inline(always)]
    fn add(&mut self, scores: &mut [f32]) -> f32 {
        let (chunks, _) = scores.as_chunks_mut::<LANES>();
        let mut max = [f32::NEG_INFINITY; LANES];
        for chunk in &*chunks {
            for (max, &score) in max.iter_mut().zip(chunk) {
                *max = if score > *max { score } else { *max };
            }
        }
        let max = max.into_iter().fold(self.max, f32::max);
        let shift = shift(max);
        let mut sums = [0.0f32; LANES];
        for chunk in chunks {
            for (sum, prob) in sums.iter_mut().zip(chunk) {
                *prob = exp(*prob - shift);
                *sum += *prob;
            }
        }
        self.merge(max, sums.iter().sum::<f32>())
    }

    /// Adds further scores. `max` is the largest score so far, theirs included, and `sum` is the
    /// sum of their probabilities. Returns the factor for the probabilities before them.
    #[inline(always)]
    pub(super) fn merge(&mut self, max: f32, sum: f32) -> f32 {
        let factor = exp(self.max - shift(max));
        self.max = max;
        self.sum = self.sum * factor + sum;
        factor
    }

    /// The factor that normalizes the probabilities; 0 if no position was visible.
    #[inline(always)]
    fn inv_sum(self) -> f32 {
        if self.sum == 0.0 { 0.0 } else { 1.0 / self.sum }
    }
}

/// Microkernel that adds the values of some positions, weighted with the probabilities of each row,
/// to columns of the result.
struct WeightedSum<'a, E> {
    /// Probabilities: `[rows, stride]`.
    probs: &'a [f32],
    stride: usize,
    /// Values: `[positions, row]`.
    values: &'a [E],
    /// Results: `[rows, row]`.
    attended: &'a mut [f32],
    row: usize,
    positions: Range<usize>,
    /// Whether to prefetch values.
    prefetch: bool,
}

impl<E: StoredElement> Microkernel for WeightedSum<'_, E> {
    #[inline(always)]
    unsafe fn compute<L: Lanes, const MR: usize, const NR: usize>(self) {
        let Self { positions, row, .. } = self;
        let rows: [&[f32]; MR] =
            std::array::from_fn(|row| &self.probs[row * self.stride..][..positions.end]);
        assert!(
            positions.is_empty() || self.values.len() >= (positions.end - 1) * row + NR * LANES,
            "whole rows of values"
        );
        let mut sums = [[L::splat(0.0); NR]; MR];
        for (index, sums) in sums.iter_mut().enumerate() {
            for (column, sums) in sums.iter_mut().enumerate() {
                let attended = self.attended[index * row + column * LANES..].first_chunk();
                *sums = L::load(attended.expect("whole rows"));
            }
        }
        for position in positions {
            // SAFETY: the assertion above covers the values, and each row of probabilities is
            // longer than `position`.
            unsafe {
                let mut loaded = [L::splat(0.0); NR];
                for (column, loaded) in loaded.iter_mut().enumerate() {
                    let values = self.values.as_ptr().add(position * row + column * LANES);
                    if self.prefetch {
                        L1::fetch(values.wrapping_add(PREFETCH_DISTANCE * row));
                    }
                    *loaded = E::load(&*values.cast::<[E; LANES]>());
                }
                for index in 0..MR {
                    let prob = L::splat(*rows[index].get_unchecked(position));
                    for column in 0..NR {
                        sums[index][column] = sums[index][column].add_product(prob, loaded[column]);
                    }
                }
            }
        }
        for (index, sums) in sums.iter().enumerate() {
            for (column, sums) in sums.iter().enumerate() {
                let attended = self.attended[index * row + column * LANES..].first_chunk_mut();
                sums.store(attended.expect("whole rows"));
            }
        }
    }
}

/// Element type of stored keys and values that there is a kernel for.
pub trait StoredKv: StoredElement {
    /// Attends with all rows of a head. Writes the results to `scratch.attended`. The result of a
    /// row does not depend on the other rows.
    fn attend(head: &Head<'_, Self>, scratch: &mut Scratch);
}

impl StoredKv for f32 {
    fn attend(head: &Head<'_, Self>, scratch: &mut Scratch) {
        attend_f32(head, &mut (), scratch);
    }
}

impl StoredKv for f16 {
    fn attend(head: &Head<'_, Self>, scratch: &mut Scratch) {
        attend_f16(head, &mut (), scratch);
    }
}

impl StoredKv for i8 {
    fn attend(head: &Head<'_, Self>, scratch: &mut Scratch) {
        attend_i8(head, &mut (), scratch);
    }
}

dispatch_lanes! {
    /// [`StoredKv::attend`] over float32.
    fn attend_f32(head: &Head<'_, f32>, factors: &mut (), scratch: &mut Scratch) =
        attend_body of f32;
}

dispatch_lanes! {
    /// [`StoredKv::attend`] over float16.
    fn attend_f16(head: &Head<'_, f16>, factors: &mut (), scratch: &mut Scratch) =
        attend_body of f16;
}

dispatch_lanes! {
    /// [`StoredKv::attend`] over integers.
    fn attend_i8(head: &Head<'_, i8>, factors: &mut (), scratch: &mut Scratch) =
        attend_body of i8;
}

#[cfg(test)]
pub(super) mod tests;
