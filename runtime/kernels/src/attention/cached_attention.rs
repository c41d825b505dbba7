//! A decoder's attention of new tokens over the tokens before them: most of those in the cache, the
//! newest behind it.

use super::SCRATCH;
use super::kernel::softmax;
use crate::parallel::{Disjoint, ThreadPool, share};
use crate::simd::lanes::{LANES, Lanes, dispatch_lanes};

/// Positions whose scores are computed together, so that one sum need not wait for another.
const POSITIONS: usize = 4;
/// Vectors of columns that are summed together.
const VECTORS: usize = 4;

/// The new tokens of some sequences, and the cache of the tokens before them.
#[derive(Clone, Copy, Debug)]
pub struct CachedAttention<'a> {
    /// Of the new tokens: `[rows, heads * size]`.
    pub queries: &'a [f32],
    /// Of the new tokens: `[rows, heads * size]`.
    pub keys: &'a [f32],
    /// Of the new tokens: `[rows, heads * size]`.
    pub values: &'a [f32],
    /// The cache: `[cache rows, heads, max_length, size]`.
    pub past_keys: &'a [f32],
    /// The cache: `[cache rows, heads, max_length, size]`.
    pub past_values: &'a [f32],
    /// New tokens.
    pub rows: usize,
    /// Heads.
    pub heads: usize,
    /// Size of a head.
    pub size: usize,
    /// Tokens that the cache has memory for.
    pub max_length: usize,
    /// Tokens in the cache.
    pub past_length: usize,
    /// How the rows belong to sequences.
    pub sequences: Sequences<'a>,
    /// Added to the scores: `[heads, new tokens of a sequence, past and new tokens of it]`.
    pub bias: Option<&'a [f32]>,
    /// What scores are multiplied with.
    pub scale: f32,
}

/// How new tokens belong to sequences.
#[derive(Clone, Copy, Debug)]
pub enum Sequences<'a> {
    /// Successive tokens of one sequence, in the first row of the cache.
    One,
    /// The next token of each beam. Row `n` of the cache belongs to row `n` of the new tokens.
    Beams {
        /// Beams of each document.
        beams: usize,
        /// `[documents, beams, max_length]`: for each past token of a beam, the beam of the same
        /// document whose row of the cache holds it.
        indirection: &'a [i32],
    },
}

impl CachedAttention<'_> {
    /// New tokens of a sequence.
    pub fn new_tokens(&self) -> usize {
        match self.sequences {
            Sequences::One => self.rows,
            Sequences::Beams { .. } => 1,
        }
    }

    /// Writes the result to `attended`, `[rows, heads * size]`. A token's result is the same bits
    /// whatever rows are beside it, and whether the tokens before it are in the cache or new.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the sizes say, or the indirection names a beam beyond those
    /// there are.
    pub fn attend<P: ThreadPool>(&self, pool: &P, attended: &mut [f32]) -> Result<(), P::Error> {
        let (heads, size, max_length) = (self.heads, self.size, self.max_length);
        let hidden = heads * size;
        let cache_row = heads * max_length * size;
        let total = self.past_length + self.new_tokens();
        let attended = Disjoint::new(attended);
        let multiplications = 2 * self.rows * total * hidden;
        share(pool, self.rows * heads, 1, multiplications, |parts| {
            SCRATCH.with_borrow_mut(|scratch| {
                for part in parts {
                    let (row, head) = (part / heads, part % heads);
                    // The first row of the sequence's new tokens and their number, the first row of
                    // the document in the cache, and the row's own indirection.
                    let (first, new, document, beams) = match self.sequences {
                        Sequences::One => (0, row + 1, 0, None),
                        Sequences::Beams { beams, indirection } => {
                            let indirection = &indirection[row * max_length..][..max_length];
                            (row, 1, row / beams * beams, Some(indirection))
                        }
                    };
                    let column = head * size;
                    let (document, first) = (document * cache_row, first * hidden + column);
                    let query = Query {
                        query: &self.queries[row * hidden + column..][..size],
                        keys: Tokens {
                            cached: &self.past_keys[document..],
                            new: &self.keys[first..],
                        },
                        values: Tokens {
                            cached: &self.past_values[document..],
                            new: &self.values[first..],
                        },
                        cached: self.past_length,
                        new,
                        beams,
                        cache_row,
                        head: column * max_length,
                        stride: hidden,
                        bias: self.bias.map(|bias| {
                            let row = head * self.new_tokens() + (new - 1);
                            &bias[row * total..][..self.past_length + new]
                        }),
                        scale: self.scale,
                    };
                    let start = row * hidden + column;
                    // SAFETY: the head's columns of the row are this part's alone.
                    let attended = unsafe { attended.part(start..start + size) };
                    attend(&query, &mut scratch.probs, attended);
                }
            });
        })
    }
}

/// Writes the keys or values of new tokens, `[rows, heads * size]`, behind the past tokens of their
/// rows of a cache, `[rows, heads, max_length, size]`.
///
/// # Panics
///
/// When `past_length` is not below `max_length`.
pub fn append(new: &[f32], past_length: usize, max_length: usize, size: usize, cache: &mut [f32]) {
    if size == 0 || max_length == 0 {
        return;
    }
    let heads = cache.chunks_exact_mut(max_length * size);
    for (cache, new) in heads.zip(new.chunks_exact(size)) {
        cache[past_length * size..][..size].copy_from_slice(new);
    }
}

/// Keys, or values, of what a query of one head attends to.
#[derive(Clone, Copy, Debug)]
struct Tokens<'a> {
    /// Those of all beams and heads: `[beams, heads, max_length, size]`.
    cached: &'a [f32],
    /// Those of the new tokens, the query's own last: `[tokens, stride]`, of which the first
    /// columns are the head's.
    new: &'a [f32],
}

/// A query of one head, and what it attends to.
#[derive(Clone, Copy, Debug)]
struct Query<'a> {
    /// `[size]`
    query: &'a [f32],
    keys: Tokens<'a>,
    values: Tokens<'a>,
    /// Tokens in the cache.
    cached: usize,
    /// Tokens behind those, the query's own among them.
    new: usize,
    /// For each cached token the beam whose row holds it; the first row, where there is no table.
    beams: Option<&'a [i32]>,
    /// Values from one beam's row of the cache to the next.
    cache_row: usize,
    /// Where the head starts in a row of the cache.
    head: usize,
    /// Values from one new token to the next.
    stride: usize,
    /// Added to the scores, `[cached + new]`.
    bias: Option<&'a [f32]>,
    /// What scores are multiplied with.
    scale: f32,
}

impl<'a> Query<'a> {
    fn tokens(&self) -> usize {
        self.cached + self.new
    }

    /// The key or value of the token at `position`: `[size]`.
    #[inline(always)]
    fn token(&self, tokens: Tokens<'a>, position: usize) -> &'a [f32] {
        let size = self.query.len();
        match position.checked_sub(self.cached) {
            Some(new) => &tokens.new[new * self.stride..][..size],
            None => {
                let beam = self.beams.map_or(0, |beams| beams[position] as usize);
                &tokens.cached[beam * self.cache_row + self.head + position * size..][..size]
            }
        }
    }
}

#[inline(always)]
fn attend_body<L: Lanes>(query: &Query<'_>, probs: &mut Vec<f32>, attended: &mut [f32]) {
    let tokens = query.tokens();
    probs.clear();
    probs.resize(tokens.next_multiple_of(LANES), f32::NEG_INFINITY);
    let whole = tokens - tokens % POSITIONS;
    for first in (0..whole).step_by(POSITIONS) {
        let scores = scores::<L, POSITIONS>(query, first);
        probs[first..first + POSITIONS].copy_from_slice(&scores);
    }
    for (position, prob) in probs[..tokens].iter_mut().enumerate().skip(whole) {
        [*prob] = scores::<L, 1>(query, position);
    }
    if let Some(bias) = query.bias {
        for (prob, bias) in probs.iter_mut().zip(bias) {
            *prob += bias;
        }
    }
    softmax(probs);
    let probs = &probs[..tokens];
    let size = query.query.len();
    let lanes = size - size % LANES;
    let mut column = 0;
    while column + VECTORS * LANES <= lanes {
        weighted_sum::<L, VECTORS>(query, probs, column, attended);
        column += VECTORS * LANES;
    }
    while column < lanes {
        weighted_sum::<L, 1>(query, probs, column, attended);
        column += LANES;
    }
    let rest = &mut attended[lanes..size];
    rest.fill(0.0);
    for (position, prob) in probs.iter().enumerate() {
        let values = &query.token(query.values, position)[lanes..];
        for (sum, value) in rest.iter_mut().zip(values) {
            *sum += prob * value;
        }
    }
}

/// Scores of the `P` tokens from `first` on. Each is the same whichever tokens are beside it.
#[inline(always)]
fn scores<L: Lanes, const P: usize>(query: &Query<'_>, first: usize) -> [f32; P] {
    // Loops over indices: closures and iterators would not keep the sums in registers.
    let mut keys = [query.query; P];
    for (index, keys) in keys.iter_mut().enumerate() {
        *keys = query.token(query.keys, first + index);
    }
    let (chunks, rest) = query.query.as_chunks::<LANES>();
    let mut sums = [L::splat(0.0); P];
    for (index, chunk) in chunks.iter().enumerate() {
        let chunk = L::load(chunk);
        for row in 0..P {
            let keys = L::load(&keys[row].as_chunks().0[index]);
            sums[row] = sums[row].add_product(chunk, keys);
        }
    }
    let done = chunks.len() * LANES;
    let mut scores = [0.0; P];
    for (index, score) in scores.iter_mut().enumerate() {
        let mut lanes = [0.0; LANES];
        sums[index].store(&mut lanes);
        let mut sum = total(lanes);
        for (value, key) in rest.iter().zip(&keys[index][done..]) {
            sum += value * key;
        }
        *score = sum * query.scale;
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

/// The sum of the values, weighted with the probabilities, in `V` vectors of columns from `column`
/// on.
#[inline(always)]
fn weighted_sum<L: Lanes, const V: usize>(
    query: &Query<'_>,
    probs: &[f32],
    column: usize,
    attended: &mut [f32],
) {
    let mut sums = [L::splat(0.0); V];
    for (position, &prob) in probs.iter().enumerate() {
        let values = &query.token(query.values, position)[column..][..V * LANES];
        let prob = L::splat(prob);
        let values = values.as_chunks().0;
        for vector in 0..V {
            sums[vector] = sums[vector].add_product(prob, L::load(&values[vector]));
        }
    }
    let attended = attended[column..][..V * LANES].as_chunks_mut().0;
    for (sum, attended) in sums.into_iter().zip(attended) {
        sum.store(attended);
    }
}

dispatch_lanes! {
    /// Attends: `attended` is `[size]`, `probs` is scratch memory. The result does not depend on
    /// which of the tokens are cached, nor on where in the cache they are.
    fn attend(query: &Query<'_>, probs: &mut Vec<f32>, attended: &mut [f32]) = attend_body;
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
                values.zip(&weights).map(|(value, weight)| value * weight / all).sum()
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
            let values_of_query = numbers(size, seed);
            let [keys, values] = [1, 2].map(|salt| numbers(tokens * size, seed ^ salt));
            let bias = numbers(tokens, seed ^ 3);
            let expected = exact(&values_of_query, &keys, &values, &bias, 0.25);
            let (row, start) = (heads * max_length * size, head * max_length * size);
            let mut first: Option<Vec<f32>> = None;
            for cached in 0..tokens {
                // The cached tokens are spread over the beams' rows; everything else is NaN.
                let table: Vec<i32> = (0..cached)
                    .map(|position| (position * 7 + seed as usize % 5) as i32 % beams as i32)
                    .collect();
                let spread = |tokens: &[f32]| {
                    let mut cache = vec![f32::NAN; beams * row];
                    for (position, (&beam, token)) in table.iter().zip(tokens.chunks(size)).enumerate() {
                        cache[beam as usize * row + start + position * size..][..size]
                            .copy_from_slice(token);
                    }
                    cache
                };
                let caches = [spread(&keys), spread(&values)];
                let query = Query {
                    query: &values_of_query,
                    keys: Tokens { cached: &caches[0], new: &keys[cached * size..] },
                    values: Tokens { cached: &caches[1], new: &values[cached * size..] },
                    cached,
                    new: tokens - cached,
                    beams: Some(&table),
                    cache_row: row,
                    head: start,
                    stride: size,
                    bias: Some(&bias),
                    scale: 0.25,
                };
                let (mut probs, mut attended) = (vec![7.0; 5], vec![f32::NAN; size]);
                attend(&query, &mut probs, &mut attended);
                for (found, exact) in attended.iter().zip(&expected) {
                    prop_assert!((f64::from(*found) - exact).abs() < 1e-4, "{} {}", found, exact);
                }
                prop_assert_eq!(first.get_or_insert_with(|| attended.clone()), &attended);
            }
        }
    }
}
