//! Attention of a document over itself with integers: queries, keys, values and the weights that scores make are
//! rounded.
//!
//! - A query is rounded as a layer's input is, between its least and its greatest number.
//! - A key is a row of int8 weights with a scale of its own. What all keys have in common is taken off before, for
//!   it adds the same to all scores of a query (SageAttention, arXiv:2410.02367).
//! - Values are int8 weights with a scale for each column.
//! - A weight is an integer of fourteen bits, in a high and a low half: what many small ones add up to must not be
//!   lost beside a great one. Shares are those of the integers, and so add up to 1.
//!
//! Sums are exact, so a query's result does not depend on which others are beside it.

use std::cell::RefCell;

use super::source::Source;
use crate::operators::int8::{Instructions, MOST_SUMS, Shape, Sums, Tile, weight_limit};
use crate::operators::panels::{GROUP, PANEL, padded_inputs, panels};
use crate::operators::rows::{Lines, Place, ROUND, RowScale, put, quantize};
use crate::simd::dispatch;
use crate::simd::exp::exp;

/// Bits of a key and of a value.
const BITS: u32 = 8;
/// Bits of half a weight.
const HALF: u32 = 7;
/// The greatest integer of a key and of a value.
const LIMIT: f32 = weight_limit(BITS) as f32;
/// Numbers of a key that are rounded before they are put in their places.
const AT_ONCE: usize = 64;

/// Most positions: more could overflow a sum.
pub(super) const MOST_POSITIONS: usize = 1 << 16;

/// What numbers are rounded to, and multiplied with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounding {
    /// Bits of a query.
    bits: u32,
    instructions: Instructions,
}

impl Rounding {
    /// For queries of so many bits.
    pub(super) fn of(bits: u32) -> Self {
        Self {
            bits,
            instructions: Instructions::detect(),
        }
    }
}

/// Keys and values of a head, in the layout of [`panels`](crate::operators::panels).
#[derive(Default)]
struct Memory {
    /// Positions are the outputs.
    keys: Vec<i8>,
    /// One for each position.
    key_scales: Vec<f32>,
    /// The sum of each position's integers.
    key_sums: Vec<f32>,
    /// What keys have in common.
    common: Vec<f32>,
    /// Columns are the outputs, positions the inputs.
    values: Vec<i8>,
    /// One for each column.
    value_scales: Vec<f32>,
}

/// Room for the queries of a tile.
#[derive(Default)]
struct Room {
    queries: Lines,
    scales: Vec<RowScale>,
    /// Scores, then weights before they are halved: `[rows, positions]`, padded to whole panels.
    weights: Vec<f32>,
    /// The high halves, and the low ones.
    halves: [Lines; 2],
    /// What a row's weights are to be multiplied with.
    shares: Vec<f32>,
    /// `[rows, columns]`, padded to whole panels.
    attended: Vec<f32>,
    sums: Products,
}

/// The sums of a tile.
struct Products(Box<Sums>);

impl Default for Products {
    fn default() -> Self {
        Self(Box::new([[0; PANEL]; MOST_SUMS]))
    }
}

/// Attends with all of a head's queries; `put` gets the number of each and its result.
pub(super) fn attend(source: &Source<'_>, rounding: Rounding, mut put: impl FnMut(usize, &[f32])) {
    thread_local! {
        static ROOM: RefCell<(Memory, Room)> = RefCell::default();
    }
    ROOM.with_borrow_mut(|(memory, room)| {
        let length = source.visible.length;
        memory.pack_keys(source, length);
        memory.pack_values(source, length);
        let shape = rounding.instructions.shape(source.rows);
        for first in (0..source.rows).step_by(shape.rows) {
            let queries = Queries {
                source,
                memory,
                rounding,
                shape,
                first,
                rows: shape.rows.min(source.rows - first),
                length,
            };
            queries.round(room);
            queries.score(room);
            queries.weigh(room);
            queries.attend(room);
            let row = panels(source.size) * PANEL;
            for (index, result) in room.attended.chunks(row).enumerate() {
                put(first + index, result);
            }
        }
    });
}

impl Memory {
    fn pack_keys(&mut self, source: &Source<'_>, length: usize) {
        let size = source.size;
        let keys = source.keys.chunks(source.stride).take(length);
        self.common.clear();
        self.common.resize(size, 0.0);
        for key in keys.clone() {
            add(&key[..size], &mut self.common);
        }
        for common in &mut self.common {
            *common /= length as f32;
        }
        let (positions, panel_size) = (panels(length) * PANEL, padded_inputs(size) * PANEL);
        self.keys.clear();
        self.keys.resize(positions * padded_inputs(size), 0);
        self.key_scales.clear();
        self.key_scales.resize(positions, 0.0);
        self.key_sums.clear();
        self.key_sums.resize(positions, 0.0);
        for (position, key) in keys.enumerate() {
            let panel = &mut self.keys[position / PANEL * panel_size..][..panel_size];
            let place = position % PANEL;
            let (scale, sum) = pack_key(&key[..size], &self.common, panel, place);
            self.key_scales[position] = scale;
            self.key_sums[position] = sum as f32;
        }
    }

    fn pack_values(&mut self, source: &Source<'_>, length: usize) {
        let size = source.size;
        let columns = panels(size) * PANEL;
        self.values.resize(columns * padded_inputs(length), 0);
        self.value_scales.clear();
        self.value_scales.resize(columns, 0.0);
        pack_values(
            source.values,
            source.stride,
            size,
            length,
            &mut self.value_scales,
            &mut self.values,
        );
    }
}

/// Rows of integers as a tile has them.
struct Integers<'a> {
    rows: &'a [u8],
    /// Integers of a row.
    inputs: usize,
    /// Bits of one.
    bits: u32,
}

/// Queries of a tile, on their way.
struct Queries<'a> {
    source: &'a Source<'a>,
    memory: &'a Memory,
    rounding: Rounding,
    shape: Shape,
    first: usize,
    rows: usize,
    /// Positions that are looked at.
    length: usize,
}

impl Queries<'_> {
    /// Makes `room.queries` and `room.scales`.
    fn round(&self, room: &mut Room) {
        let (stride, size) = (self.source.stride, self.source.size);
        let bytes = room.queries.resize(self.rows * self.padded(size));
        room.scales.clear();
        for row in 0..self.rows {
            let query = &self.source.queries[(self.first + row) * stride..][..size];
            let RowScale { scale, least } =
                quantize(query, self.rounding.bits, bytes, self.place(row));
            room.scales.push(RowScale {
                scale: scale * self.source.scale,
                least: least * self.source.scale,
            });
        }
    }

    /// Makes scores of `room.queries`.
    fn score(&self, room: &mut Room) {
        let Room {
            queries,
            scales,
            weights,
            sums,
            ..
        } = room;
        let positions = panels(self.length) * PANEL;
        weights.resize(self.rows * positions, 0.0);
        let memory = self.memory;
        let queries = Integers {
            rows: queries,
            inputs: self.source.size,
            bits: self.rounding.bits,
        };
        self.multiply(&queries, &memory.keys, sums, |panel, count, sums| {
            let places = panel * PANEL..(panel + count) * PANEL;
            finish_scores(
                sums,
                scales,
                &memory.key_scales[places.clone()],
                &memory.key_sums[places.clone()],
                &mut weights[places.start..],
                positions,
            );
        });
    }

    /// Makes halves of weights of scores.
    fn weigh(&self, room: &mut Room) {
        let bytes = self.rows * self.padded(self.length);
        let [high, low] = &mut room.halves;
        let (high, low) = (high.resize(bytes), low.resize(bytes));
        room.shares.clear();
        let positions = panels(self.length) * PANEL;
        for (row, weights) in room.weights.chunks_exact_mut(positions).enumerate() {
            let bias = self.source.bias;
            let bias = bias.map(|bias| &bias[(self.first + row) * self.source.rows..]);
            self.source.visible.bias(weights, bias);
            let place = self.place(row);
            room.shares
                .push(weigh(weights, self.length, high, low, place));
        }
    }

    /// Makes `room.attended` of halves of weights.
    fn attend(&self, room: &mut Room) {
        let Room {
            halves: [high, low],
            attended,
            shares,
            sums,
            ..
        } = room;
        let columns = panels(self.source.size) * PANEL;
        attended.clear();
        attended.resize(self.rows * columns, 0.0);
        let above = (1u32 << HALF) as f32;
        for (half, factor) in [(high, above), (low, 1.0)] {
            let half = Integers {
                rows: half,
                inputs: self.length,
                bits: HALF,
            };
            self.multiply(&half, &self.memory.values, sums, |panel, count, sums| {
                add_sums(sums, factor, &mut attended[panel * PANEL..], columns, count);
            });
        }
        for (attended, share) in attended.chunks_exact_mut(columns).zip(shares) {
            scale_columns(attended, &self.memory.value_scales, *share);
        }
    }

    /// Multiplies rows of integers with all panels of `weights`; `finish` gets the first panel of a tile, how many
    /// there are, and their sums.
    fn multiply(
        &self,
        rows: &Integers<'_>,
        weights: &[i8],
        sums: &mut Products,
        mut finish: impl FnMut(usize, usize, &[[i32; PANEL]]),
    ) {
        let stride = padded_inputs(rows.inputs);
        let all = weights.len() / (stride * PANEL);
        let mut panel = 0;
        while panel < all {
            let count = self.shape.take(all - panel);
            let tile = Tile {
                activations: rows.rows,
                rows: self.rows,
                group: self.shape.group,
                stride,
                bits: rows.bits + BITS,
                weights: &weights[panel * stride * PANEL..][..count * stride * PANEL],
                panels: count,
            };
            self.rounding.instructions.multiply(&tile, &mut sums.0);
            finish(panel, count, &sums.0[..self.rows * count]);
            panel += count;
        }
    }

    /// Inputs of a row of activations, padding included.
    fn padded(&self, inputs: usize) -> usize {
        padded_inputs(inputs).next_multiple_of(self.shape.group)
    }

    fn place(&self, row: usize) -> Place {
        Place {
            row,
            rows: self.rows,
            group: self.shape.group,
        }
    }
}

/// The scale of a greatest magnitude, and what it makes integers: not numbers where that is infinite or none.
#[inline(always)]
fn scale_of(greatest: f32) -> (f32, f32) {
    let inverse = if greatest == 0.0 {
        0.0
    } else {
        LIMIT / greatest
    };
    let finite = if greatest.is_finite() { 1.0 } else { f32::NAN };
    (finite * greatest / LIMIT, inverse)
}

/// The greater magnitude; not a number where one is none.
#[inline(always)]
fn greater(greatest: f32, value: f32) -> f32 {
    // The bits of magnitudes are ordered as they are, infinity and what is no number above all.
    f32::from_bits(greatest.to_bits().max(value.to_bits() & 0x7fff_ffff))
}

#[inline(always)]
fn integer(value: f32) -> u8 {
    ((value + ROUND).to_bits() & 0xff) as u8
}

#[inline(always)]
fn add_body(row: &[f32], sums: &mut [f32]) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += value;
    }
}

dispatch! {
    fn add(row: &[f32], sums: &mut [f32]) = add_body;
}

#[inline(always)]
fn pack_key_body(key: &[f32], common: &[f32], panel: &mut [i8], place: usize) -> (f32, i32) {
    let mut greatest = [0.0; PANEL];
    for (key, common) in key.chunks(PANEL).zip(common.chunks(PANEL)) {
        for ((greatest, key), common) in greatest.iter_mut().zip(key).zip(common) {
            *greatest = greater(*greatest, key - common);
        }
    }
    let (scale, inverse) = scale_of(greatest.into_iter().fold(0.0, greater));
    let mut sum = 0;
    let groups = panel.as_chunks_mut::<GROUP>().0;
    let mut at = place;
    let mut integers = [0u8; AT_ONCE];
    for (key, common) in key.chunks(AT_ONCE).zip(common.chunks(AT_ONCE)) {
        for ((integer_, key), common) in integers.iter_mut().zip(key).zip(common) {
            *integer_ = integer((key - common) * inverse);
        }
        integers[key.len()..].fill(0);
        sum += integers
            .iter()
            .map(|&integer| i32::from(integer as i8))
            .sum::<i32>();
        let filled = key.len().div_ceil(GROUP);
        for integers in &integers.as_chunks::<GROUP>().0[..filled] {
            groups[at] = integers.map(|integer| integer as i8);
            at += PANEL;
        }
    }
    (scale, sum)
}

dispatch! {
    /// Rounds a key to a place of a panel; gives its scale and the sum of its integers.
    fn pack_key(key: &[f32], common: &[f32], panel: &mut [i8], place: usize) -> (f32, i32) = pack_key_body;
}

#[inline(always)]
fn pack_values_body(
    rows: &[f32],
    stride: usize,
    size: usize,
    length: usize,
    scales: &mut [f32],
    packed: &mut [i8],
) {
    let row = |position: usize| &rows[position * stride..][..size];
    for position in 0..length {
        for (scale, &value) in scales.iter_mut().zip(row(position)) {
            *scale = greater(*scale, value);
        }
    }
    let panel_size = padded_inputs(length) * PANEL;
    for (panel, packed) in packed.chunks_exact_mut(panel_size).enumerate() {
        let mut inverses = [0.0; PANEL];
        for (scale, inverse) in scales[panel * PANEL..].iter_mut().zip(&mut inverses) {
            (*scale, *inverse) = scale_of(*scale);
        }
        for (group, packed) in packed
            .as_chunks_mut::<{ GROUP * PANEL }>()
            .0
            .iter_mut()
            .enumerate()
        {
            let mut words = [0u32; PANEL];
            for (place, position) in (group * GROUP..length.min((group + 1) * GROUP)).enumerate() {
                let values = &row(position)[panel * PANEL..];
                let values = values.first_chunk().copied().unwrap_or_else(|| {
                    let mut padded = [0.0; PANEL];
                    padded[..values.len()].copy_from_slice(values);
                    padded
                });
                for column in 0..PANEL {
                    let integer = integer(values[column] * inverses[column]);
                    words[column] |= u32::from(integer) << (8 * place);
                }
            }
            for (packed, word) in packed.as_chunks_mut::<GROUP>().0.iter_mut().zip(words) {
                *packed = word.to_le_bytes().map(|byte| byte as i8);
            }
        }
    }
}

dispatch! {
    /// Rounds the values of `length` positions, one row of `rows` every `stride`; `scales` are zeros and become those of
    /// the columns.
    fn pack_values(
        rows: &[f32],
        stride: usize,
        size: usize,
        length: usize,
        scales: &mut [f32],
        packed: &mut [i8],
    ) = pack_values_body;
}

#[inline(always)]
fn finish_scores_body(
    sums: &[[i32; PANEL]],
    rows: &[RowScale],
    key_scales: &[f32],
    key_sums: &[f32],
    scores: &mut [f32],
    stride: usize,
) {
    let (key_scales, key_sums) = (key_scales.as_chunks().0, key_sums.as_chunks().0);
    let panels = key_scales.len();
    for ((sums, row), scores) in sums
        .chunks_exact(panels)
        .zip(rows)
        .zip(scores.chunks_mut(stride))
    {
        let scores = scores.as_chunks_mut().0;
        for (panel, sums) in sums.iter().enumerate() {
            let (scales, of_keys): (&[f32; PANEL], &[f32; PANEL]) =
                (&key_scales[panel], &key_sums[panel]);
            let scores: &mut [f32; PANEL] = &mut scores[panel];
            for place in 0..PANEL {
                let sum = row.scale * sums[place] as f32 + row.least * of_keys[place];
                scores[place] = sum * scales[place];
            }
        }
    }
}

dispatch! {
    /// Scores of some panels of keys: a row every `stride`.
    fn finish_scores(
        sums: &[[i32; PANEL]],
        rows: &[RowScale],
        key_scales: &[f32],
        key_sums: &[f32],
        scores: &mut [f32],
        stride: usize,
    ) = finish_scores_body;
}

/// The greatest of some numbers, half with half.
#[inline(always)]
fn greatest(mut lanes: [f32; PANEL]) -> f32 {
    let mut width = PANEL;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            let (near, far) = (lanes[lane], lanes[lane + width]);
            lanes[lane] = if far > near { far } else { near };
        }
    }
    lanes[0]
}

#[inline(always)]
fn weigh_body(
    scores: &mut [f32],
    length: usize,
    high: &mut [u8],
    low: &mut [u8],
    place: Place,
) -> f32 {
    let chunks = scores.as_chunks_mut::<PANEL>().0;
    let mut most = [f32::NEG_INFINITY; PANEL];
    for chunk in &*chunks {
        for (most, &score) in most.iter_mut().zip(chunk) {
            *most = if score > *most { score } else { *most };
        }
    }
    let most = greatest(most);
    const MASK: u32 = (1 << (2 * HALF)) - 1;
    let mut sums = [0.0f32; PANEL];
    for chunk in &mut *chunks {
        for (sum, score) in sums.iter_mut().zip(chunk) {
            let rounded = exp(*score - most) * MASK as f32 + ROUND;
            *sum += rounded - ROUND;
            *score = rounded;
        }
    }
    let weights = &scores[..length];
    let of_high = |weight: f32| ((weight.to_bits() & MASK) >> HALF) as u8;
    put(weights, of_high, high, place);
    let of_low = |weight: f32| (weight.to_bits() & ((1 << HALF) - 1)) as u8;
    put(weights, of_low, low, place);
    1.0 / sums.iter().sum::<f32>()
}

dispatch! {
    /// Turns a row of `length` scores, padded to whole panels, into halves of weights; gives what makes of those shares
    /// of 1.
    fn weigh(
        scores: &mut [f32],
        length: usize,
        high: &mut [u8],
        low: &mut [u8],
        place: Place,
    ) -> f32 = weigh_body;
}

#[inline(always)]
fn add_sums_body(
    sums: &[[i32; PANEL]],
    factor: f32,
    attended: &mut [f32],
    stride: usize,
    panels: usize,
) {
    for (sums, attended) in sums.chunks_exact(panels).zip(attended.chunks_mut(stride)) {
        let attended = attended.as_chunks_mut::<PANEL>().0;
        for (sums, attended) in sums.iter().zip(attended) {
            for (attended, &sum) in attended.iter_mut().zip(sums) {
                *attended += factor * sum as f32;
            }
        }
    }
}

dispatch! {
    /// Adds the sums of some panels of columns, times a factor, to rows of `stride`.
    fn add_sums(
        sums: &[[i32; PANEL]],
        factor: f32,
        attended: &mut [f32],
        stride: usize,
        panels: usize,
    ) = add_sums_body;
}

#[inline(always)]
fn scale_columns_body(attended: &mut [f32], scales: &[f32], share: f32) {
    for (attended, scale) in attended.iter_mut().zip(scales) {
        *attended *= scale * share;
    }
}

dispatch! {
    fn scale_columns(attended: &mut [f32], scales: &[f32], share: f32) = scale_columns_body;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::kernel::Visible;
    use super::*;

    /// A head of a document, its rows as far from each other as `STRIDE` says.
    struct Example {
        queries: Vec<f32>,
        keys: Vec<f32>,
        values: Vec<f32>,
        bias: Vec<f32>,
        mask: Vec<i32>,
        size: usize,
    }

    const STRIDE: usize = 104;

    /// Numbers within 2 of 0 that look random.
    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        (0..count as u32)
            .map(|index| (index.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) % 4001)
            .map(|number| number as f32 / 1000.0 - 2.0)
            .collect()
    }

    impl Example {
        fn new(size: usize, mask: Vec<i32>, seed: u32) -> Self {
            let rows = mask.len();
            let [queries, keys, values] =
                [1, 2, 3].map(|salt| numbers(rows * STRIDE, seed.wrapping_mul(31) ^ salt));
            Self {
                queries,
                keys,
                values,
                bias: numbers(rows * rows, seed ^ 4),
                mask,
                size,
            }
        }

        fn attend(&self, instructions: Instructions) -> Vec<Vec<f32>> {
            let rows = self.mask.len();
            let source = Source {
                queries: &self.queries,
                keys: &self.keys,
                values: &self.values,
                stride: STRIDE,
                size: self.size,
                rows,
                visible: Visible::of(&self.mask),
                bias: Some(&self.bias),
                scale: 0.25,
            };
            let rounding = Rounding {
                bits: 8,
                instructions,
            };
            let mut results = vec![Vec::new(); rows];
            attend(&source, rounding, |row, result| {
                results[row] = result[..self.size].to_vec();
            });
            results
        }

        /// The result of a row in double precision, where some position is visible.
        fn exact(&self, row: usize) -> Vec<f64> {
            let of_row = |numbers: &[f32], row: usize| -> Vec<f64> {
                let row = &numbers[row * STRIDE..][..self.size];
                row.iter().map(|&number| f64::from(number)).collect()
            };
            let query = of_row(&self.queries, row);
            let positions = self.mask.len();
            let weights: Vec<f64> = (0..positions)
                .map(|position| {
                    let key = of_row(&self.keys, position);
                    let product: f64 = query.iter().zip(key).map(|(query, key)| query * key).sum();
                    let score = product * 0.25 + f64::from(self.bias[row * positions + position]);
                    f64::from(self.mask[position].min(1)) * score.exp()
                })
                .collect();
            let all: f64 = weights.iter().sum();
            let mut result = vec![0.0; self.size];
            for (position, weight) in weights.iter().enumerate() {
                for (sum, value) in result.iter_mut().zip(of_row(&self.values, position)) {
                    *sum += value * weight / all;
                }
            }
            result
        }
    }

    proptest! {
        #[test]
        fn is_near_double_precision_and_the_same_on_every_processor(
            size in 1_usize..100,
            mask in prop::collection::vec(0..4_i32, 1..150),
            seed: u32,
        ) {
            let example = Example::new(size, mask, seed);
            let results = example.attend(Instructions::Portable);
            for instructions in Instructions::available() {
                prop_assert_eq!(&example.attend(instructions), &results);
            }
            if example.mask.iter().any(|&visible| visible != 0) {
                for (row, result) in results.iter().enumerate() {
                    for (value, exact) in result.iter().zip(example.exact(row)) {
                        // A hundredth of the greatest value, and what the scores' errors make.
                        prop_assert!((f64::from(*value) - exact).abs() < 0.12, "{} {}", value, exact);
                    }
                }
            }
        }
    }

    #[test]
    fn many_small_weights_are_not_lost_beside_a_great_one() {
        // One position weighs a thousand times as much as each of the thousand others.
        let rows = 1001;
        let mut example = Example::new(16, vec![1; rows], 1);
        example.queries.fill(0.0);
        example.bias.fill(0.0);
        example.values.fill(1.0);
        for row in 0..rows {
            example.bias[row * rows] = 1000_f32.ln();
        }
        example.values[..16].fill(-1.0);
        let results = example.attend(Instructions::detect());
        assert!(results.iter().flatten().all(|value| value.abs() < 0.03));
    }

    #[test]
    fn what_keys_have_in_common_takes_nothing_from_their_differences() {
        let mut example = Example::new(64, vec![1; 40], 5);
        let before = example.attend(Instructions::detect());
        for key in example.keys.chunks_mut(STRIDE) {
            for (column, number) in key.iter_mut().enumerate() {
                *number += [300.0, -200.0][column % 2];
            }
        }
        for (row, result) in example.attend(Instructions::detect()).iter().enumerate() {
            for (value, before) in result.iter().zip(&before[row]) {
                assert!((value - before).abs() < 0.05, "{value} {before}");
            }
        }
    }

    #[test]
    fn what_is_no_number_comes_out_as_none() {
        for spoilt in [f32::NAN, f32::INFINITY] {
            let clean = Example::new(16, vec![1; 20], 3);
            let before = clean.attend(Instructions::detect());
            let mut example = Example::new(16, vec![1; 20], 3);
            example.queries[3 * STRIDE + 5] = spoilt;
            let results = example.attend(Instructions::detect());
            for (row, (result, before)) in results.iter().zip(&before).enumerate() {
                match row {
                    3 => assert!(result.iter().all(|value| value.is_nan())),
                    _ => assert_eq!(result, before),
                }
            }
            let mut example = Example::new(16, vec![1; 20], 3);
            example.values[7 * STRIDE + 2] = spoilt;
            for result in example.attend(Instructions::detect()) {
                assert!(result[2].is_nan() && result[3].is_finite());
            }
            let mut example = Example::new(16, vec![1; 20], 3);
            example.keys[7 * STRIDE + 2] = spoilt;
            let results = example.attend(Instructions::detect());
            assert!(results.iter().flatten().all(|value| value.is_nan()));
        }
    }
}
