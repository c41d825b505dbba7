//! Attention of one query over the tokens before it: most of them in the decoder's cache, the newest
//! behind it.

use super::kernel::softmax;
use crate::simd::lanes::{LANES, Lanes, dispatch_lanes};

/// Positions whose scores are computed together, so that one sum need not wait for another.
const POSITIONS: usize = 4;
/// Registers of columns that are summed together.
const REGISTERS: usize = 4;

/// Keys, or values, of what a query of one head attends to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tokens<'a> {
    /// Those of all beams and heads: `[beams, heads, max_length, size]`.
    pub(super) cached: &'a [f32],
    /// Those of the newest tokens, the query's own last: `[tokens, stride]`, of which the first
    /// columns are the head's.
    pub(super) new: &'a [f32],
}

/// What a query of one head attends to, and with what.
#[derive(Clone, Copy, Debug)]
pub(super) struct History<'a> {
    /// `[size]`
    pub(super) query: &'a [f32],
    pub(super) keys: Tokens<'a>,
    pub(super) values: Tokens<'a>,
    /// Tokens in the cache.
    pub(super) cached: usize,
    /// Tokens behind those, the query's own among them.
    pub(super) new: usize,
    /// For each cached token the beam whose row holds it; all in the first row where it is not given.
    pub(super) beams: Option<&'a [i32]>,
    /// From one beam's row to the next.
    pub(super) row: usize,
    /// Where the head starts in a row.
    pub(super) head: usize,
    /// From one new token to the next.
    pub(super) stride: usize,
    /// Added to the scores, `[cached + new]`.
    pub(super) bias: Option<&'a [f32]>,
    /// What scores are multiplied with.
    pub(super) scale: f32,
}

impl<'a> History<'a> {
    fn tokens(&self) -> usize {
        self.cached + self.new
    }

    /// What `tokens` hold for the one at `position`: `[size]`.
    #[inline(always)]
    fn at(&self, tokens: Tokens<'a>, position: usize) -> &'a [f32] {
        let size = self.query.len();
        match position.checked_sub(self.cached) {
            Some(new) => &tokens.new[new * self.stride..][..size],
            None => {
                let beam = self.beams.map_or(0, |beams| beams[position] as usize);
                &tokens.cached[beam * self.row + self.head + position * size..][..size]
            }
        }
    }
}

#[inline(always)]
fn attend_body<L: Lanes>(history: &History<'_>, weights: &mut Vec<f32>, attended: &mut [f32]) {
    let tokens = history.tokens();
    weights.clear();
    weights.resize(tokens.next_multiple_of(LANES), f32::NEG_INFINITY);
    let whole = tokens - tokens % POSITIONS;
    for first in (0..whole).step_by(POSITIONS) {
        let scores = scores::<L, POSITIONS>(history, first);
        weights[first..first + POSITIONS].copy_from_slice(&scores);
    }
    for (position, weight) in weights[..tokens].iter_mut().enumerate().skip(whole) {
        [*weight] = scores::<L, 1>(history, position);
    }
    if let Some(bias) = history.bias {
        for (weight, bias) in weights.iter_mut().zip(bias) {
            *weight += bias;
        }
    }
    softmax(weights);
    let weights = &weights[..tokens];
    let size = history.query.len();
    let lanes = size - size % LANES;
    let mut column = 0;
    while column + REGISTERS * LANES <= lanes {
        weigh::<L, REGISTERS>(history, weights, column, attended);
        column += REGISTERS * LANES;
    }
    while column < lanes {
        weigh::<L, 1>(history, weights, column, attended);
        column += LANES;
    }
    let rest = &mut attended[lanes..size];
    rest.fill(0.0);
    for (position, weight) in weights.iter().enumerate() {
        let values = &history.at(history.values, position)[lanes..];
        for (sum, value) in rest.iter_mut().zip(values) {
            *sum += weight * value;
        }
    }
}

/// Scores of the `P` tokens from `first` on. Each is the same whichever are beside it.
#[inline(always)]
fn scores<L: Lanes, const P: usize>(history: &History<'_>, first: usize) -> [f32; P] {
    // Loops over indices: what closures and iterators hold would not stay in registers.
    let mut keys = [history.query; P];
    for (index, keys) in keys.iter_mut().enumerate() {
        *keys = history.at(history.keys, first + index);
    }
    let (query, rest) = history.query.as_chunks::<LANES>();
    let mut sums = [L::splat(0.0); P];
    for (index, query) in query.iter().enumerate() {
        let query = L::load(query);
        for row in 0..P {
            let keys = L::load(&keys[row].as_chunks().0[index]);
            sums[row] = sums[row].add_product(query, keys);
        }
    }
    let done = query.len() * LANES;
    let mut scores = [0.0; P];
    for (index, score) in scores.iter_mut().enumerate() {
        let mut lanes = [0.0; LANES];
        sums[index].store(&mut lanes);
        let mut sum = total(lanes);
        for (query, key) in rest.iter().zip(&keys[index][done..]) {
            sum += query * key;
        }
        *score = sum * history.scale;
    }
    scores
}

/// The sum of all lanes, pair by pair.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    lanes[0]
}

/// The weighted sum of values in `R` registers of columns from `column` on.
#[inline(always)]
fn weigh<L: Lanes, const R: usize>(
    history: &History<'_>,
    weights: &[f32],
    column: usize,
    attended: &mut [f32],
) {
    let mut sums = [L::splat(0.0); R];
    for (position, &weight) in weights.iter().enumerate() {
        let values = &history.at(history.values, position)[column..][..R * LANES];
        let weight = L::splat(weight);
        let values = values.as_chunks().0;
        for register in 0..R {
            sums[register] = sums[register].add_product(weight, L::load(&values[register]));
        }
    }
    let attended = attended[column..][..R * LANES].as_chunks_mut().0;
    for (sum, attended) in sums.into_iter().zip(attended) {
        sum.store(attended);
    }
}

dispatch_lanes! {
    /// Attends: `attended` is `[size]`. `weights` is room for what is computed on the way. The result
    /// does not depend on which of the tokens are cached, nor where in the cache they are.
    pub(super) fn attend(
        history: &History<'_>,
        weights: &mut Vec<f32>,
        attended: &mut [f32],
    ) = attend_body;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers that look random.
    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        (0..count as u32)
            .map(|index| (index.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) % 4001)
            .map(|number| number as f32 / 1000.0 - 2.0)
            .collect()
    }

    /// Attention in double precision.
    fn exact(query: &[f32], keys: &[f32], values: &[f32], bias: &[f32], scale: f32) -> Vec<f64> {
        let size = query.len();
        let weights: Vec<f64> = keys
            .chunks(size)
            .zip(bias)
            .map(|(key, &bias)| {
                let products = query.iter().zip(key);
                let product: f64 = products.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                (product * f64::from(scale) + f64::from(bias)).exp()
            })
            .collect();
        let all: f64 = weights.iter().sum();
        (0..size)
            .map(|column| {
                let values = values.chunks(size).map(|value| f64::from(value[column]));
                values
                    .zip(&weights)
                    .map(|(value, weight)| value * weight / all)
                    .sum()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn agrees_with_double_precision_wherever_the_tokens_are(
            size in 1_usize..100,
            tokens in 1_usize..40,
            beams in 1_usize..5,
            seed: u32,
        ) {
            let (heads, head, max_length) = (3, (seed % 3) as usize, tokens + 2);
            let query = numbers(size, seed);
            let [keys, values] = [1, 2].map(|salt| numbers(tokens * size, seed ^ salt));
            let bias = numbers(tokens, seed ^ 3);
            let expected = exact(&query, &keys, &values, &bias, 0.25);
            let (row, start) = (heads * max_length * size, head * max_length * size);
            let mut first: Option<Vec<f32>> = None;
            for cached in 0..tokens {
                // The cached ones are strewn over the beams' rows; where none belongs there is a NaN.
                let table: Vec<i32> = (0..cached)
                    .map(|position| (position * 7 + seed as usize % 5) as i32 % beams as i32)
                    .collect();
                let strewn = |tokens: &[f32]| {
                    let mut cache = vec![f32::NAN; beams * row];
                    for (position, (&beam, token)) in table.iter().zip(tokens.chunks(size)).enumerate() {
                        cache[beam as usize * row + start + position * size..][..size]
                            .copy_from_slice(token);
                    }
                    cache
                };
                let caches = [strewn(&keys), strewn(&values)];
                let history = History {
                    query: &query,
                    keys: Tokens { cached: &caches[0], new: &keys[cached * size..] },
                    values: Tokens { cached: &caches[1], new: &values[cached * size..] },
                    cached,
                    new: tokens - cached,
                    beams: Some(&table),
                    row,
                    head: start,
                    stride: size,
                    bias: Some(&bias),
                    scale: 0.25,
                };
                let (mut weights, mut attended) = (vec![7.0; 5], vec![f32::NAN; size]);
                attend(&history, &mut weights, &mut attended);
                for (found, exact) in attended.iter().zip(&expected) {
                    prop_assert!((f64::from(*found) - exact).abs() < 1e-4, "{} {}", found, exact);
                }
                prop_assert_eq!(first.get_or_insert_with(|| attended.clone()), &attended);
            }
        }
    }
}
