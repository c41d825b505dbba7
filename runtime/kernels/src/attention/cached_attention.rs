//! A decoder's attention of new tokens over themselves and the tokens before them, which all stand
//! in one cache.

use super::kernel::{Softmax, cap, softmax};
use super::{SCRATCH, kv_head};
use crate::parallel::{Disjoint, ThreadPool, share};
use crate::simd::exp::exp;
use crate::simd::lanes::{LANES, Lanes, dispatch_lanes};

/// Positions whose scores are computed together, so that one sum need not wait for another.
const POSITIONS: usize = 4;
/// Vectors of columns that are summed together.
const VECTORS: usize = 4;
/// Parts that the rows and heads of a large step are cut into, at most.
const PARTS: usize = 128;

/// The new tokens of some sequences, one a row, and the cache.
#[derive(Clone, Copy, Debug)]
pub struct CachedAttention<'a> {
    /// `[rows, heads * size]`
    pub queries: &'a [f32],
    /// The cache: `[kv_heads, places, size]`.
    pub keys: &'a [f32],
    /// The cache: `[kv_heads, places, size]`.
    pub values: &'a [f32],
    /// Tokens that the cache has memory for.
    pub places: usize,
    /// New tokens.
    pub rows: usize,
    /// Heads.
    pub heads: usize,
    /// Heads of keys and values, each of which as many heads share.
    pub kv_heads: usize,
    /// Size of a head.
    pub size: usize,
    /// The history of each row.
    pub histories: Histories<'a>,
    /// Added to the scores: `[heads, rows, bias_length]`.
    pub bias: Option<&'a [f32]>,
    /// Positions of a row of the bias, as many as the longest history has.
    pub bias_length: usize,
    /// What scores are multiplied with.
    pub scale: f32,
    /// What scores approach and do not reach.
    pub softcap: Option<f32>,
    /// Tokens that a token sees, itself included.
    pub window: usize,
    /// What else the queries attend to, under the same softmax.
    pub elsewhere: Option<Elsewhere<'a>>,
}

/// What an attention to other keys and values gave: cross-attention, with sums.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere<'a> {
    /// `[rows, heads * size]`
    pub attended: &'a [f32],
    /// `[rows, heads, 2]`: the largest score, and the sum of the exponentials of what scores are
    /// beyond it.
    pub sums: &'a [f32],
}

/// Where the cache holds the tokens that each row attends to, its own last.
#[derive(Clone, Copy, Debug)]
pub struct Histories<'a> {
    /// Places in the cache: `[rows, room]`, of which those of a row's tokens count.
    pub places: &'a [i32],
    /// Places of a row, those that do not count included.
    pub room: usize,
    /// Tokens before the new one of each row: `[rows]`.
    pub past: &'a [i32],
}

impl<'a> Histories<'a> {
    /// Places of a row's tokens.
    ///
    /// # Panics
    ///
    /// When the row has no room for them.
    pub fn of(&self, row: usize) -> &'a [i32] {
        &self.places[row * self.room..][..self.room][..self.past[row] as usize + 1]
    }

    /// Tokens that all rows together attend to.
    fn tokens(&self) -> usize {
        self.past.iter().map(|&past| past as usize + 1).sum()
    }
}

impl CachedAttention<'_> {
    /// Writes the result to `attended`, `[rows, heads * size]`. A token's result is the same bits
    /// whatever rows are beside it, and wherever its history stands.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the sizes say, or a history names a place beyond those there
    /// are.
    pub fn attend<P: ThreadPool>(&self, pool: &P, attended: &mut [f32]) -> Result<(), P::Error> {
        let &Self { heads, size, rows, .. } = self;
        let hidden = heads * size;
        let attended = Disjoint::new(attended);
        let multiplications = 2 * self.histories.tokens() * hidden;
        let part = (rows * heads).div_ceil(PARTS);
        share(pool, rows * heads, part, multiplications, |parts| {
            SCRATCH.with_borrow_mut(|scratch| {
                for part in parts {
                    // Rows of a document follow each other, and share most of their history.
                    let (head, row) = (part / rows, part % rows);
                    let kv = kv_head(head, heads, self.kv_heads);
                    let of_head = kv * self.places * size..(kv + 1) * self.places * size;
                    let history = self.histories.of(row);
                    let seen = history.len().saturating_sub(self.window)..history.len();
                    let start = row * hidden + head * size;
                    let query = Query {
                        query: &self.queries[start..start + size],
                        keys: &self.keys[of_head.clone()],
                        values: &self.values[of_head],
                        history: &history[seen.clone()],
                        bias: self.bias.map(|bias| {
                            &bias[(head * rows + row) * self.bias_length..][seen.clone()]
                        }),
                        scale: self.scale,
                        softcap: self.softcap,
                    };
                    // SAFETY: the head's columns of the row are this part's alone.
                    let attended = unsafe { attended.part(start..start + size) };
                    let mut softmax = Softmax::default();
                    attend(&query, &mut scratch.probs, &mut softmax, attended);
                    if let Some(elsewhere) = self.elsewhere {
                        let other = &elsewhere.attended[start..start + size];
                        let [max, sum] = elsewhere.sums.as_chunks().0[row * heads + head];
                        merge(attended, softmax, other, Softmax { max, sum });
                    }
                }
            });
        })
    }
}

/// Puts what two attentions gave under one softmax.
fn merge(attended: &mut [f32], softmax: Softmax, other: &[f32], of_other: Softmax) {
    let max = softmax.max.max(of_other.max);
    let [weight, other_weight] = [softmax, of_other].map(|own| own.sum * exp(own.max - max));
    let share = weight / (weight + other_weight);
    let other_share = other_weight / (weight + other_weight);
    for (attended, other) in attended.iter_mut().zip(other) {
        *attended = *attended * share + other * other_share;
    }
}

/// Writes the keys or values of new tokens, `[rows, heads * size]`, to a cache, `[heads, places,
/// size]`: each to the last place of its history.
///
/// # Panics
///
/// When a place is beyond those there are.
pub fn append(new: &[f32], histories: &Histories<'_>, size: usize, cache: &mut [f32]) {
    let Some(hidden) = new.len().checked_div(histories.past.len()).filter(|&hidden| hidden > 0)
    else {
        return;
    };
    let of_head = cache.len() / (hidden / size);
    for (row, new) in new.chunks_exact(hidden).enumerate() {
        let place = histories.of(row).last().map_or(0, |&place| place as usize);
        for (cache, new) in cache.chunks_exact_mut(of_head).zip(new.chunks_exact(size)) {
            cache[place * size..][..size].copy_from_slice(new);
        }
    }
}

/// A query of one head, and what it attends to.
#[derive(Clone, Copy, Debug)]
struct Query<'a> {
    /// `[size]`
    query: &'a [f32],
    /// The head's part of the cache: `[places, size]`.
    keys: &'a [f32],
    /// The head's part of the cache: `[places, size]`.
    values: &'a [f32],
    /// Places of the tokens.
    history: &'a [i32],
    /// Added to the scores, as long as the history.
    bias: Option<&'a [f32]>,
    /// What scores are multiplied with.
    scale: f32,
    /// What scores approach and do not reach.
    softcap: Option<f32>,
}

impl<'a> Query<'a> {
    /// The key or value of the token at `position`: `[size]`.
    #[inline(always)]
    fn token(&self, cache: &'a [f32], position: usize) -> &'a [f32] {
        let size = self.query.len();
        &cache[self.history[position] as usize * size..][..size]
    }
}

#[inline(always)]
fn attend_body<L: Lanes>(
    query: &Query<'_>,
    probs: &mut Vec<f32>,
    of_query: &mut Softmax,
    attended: &mut [f32],
) {
    let tokens = query.history.len();
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
    if let Some(softcap) = query.softcap {
        cap(&mut probs[..tokens], softcap);
    }
    if let Some(bias) = query.bias {
        for (prob, bias) in probs.iter_mut().zip(bias) {
            *prob += bias;
        }
    }
    *of_query = softmax(probs);
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
    /// Attends: `attended` is `[size]`, `probs` is scratch memory, `of_query` gets the softmax. The
    /// result does not depend on where in the cache the tokens are.
    fn attend(
        query: &Query<'_>,
        probs: &mut Vec<f32>,
        of_query: &mut Softmax,
        attended: &mut [f32],
    ) = attend_body;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parallel::SingleThread;

    /// Numbers that look random.
    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        (0..count as u32)
            .map(|index| (index.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) % 4001)
            .map(|number| number as f32 / 1000.0 - 2.0)
            .collect()
    }

    /// Attention in double precision.
    fn exact(
        query: &[f32],
        [keys, values]: [&[f32]; 2],
        bias: &[f32],
        scale: f32,
        softcap: Option<f32>,
    ) -> Vec<f64> {
        let size = query.len();
        let weights: Vec<f64> = keys
            .chunks(size)
            .zip(bias)
            .map(|(key, &bias)| {
                let products = query.iter().zip(key);
                let product: f64 = products.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                let score = product * f64::from(scale);
                let score = softcap
                    .map(f64::from)
                    .map_or(score, |softcap| (score / softcap).tanh() * softcap);
                (score + f64::from(bias)).exp()
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
            softcap in prop::option::of(1.0_f32..20.0),
            seed: u32,
        ) {
            let values_of_query = numbers(size, seed);
            let [keys, values] = [1, 2].map(|salt| numbers(tokens * size, seed ^ salt));
            let bias = numbers(tokens, seed ^ 3);
            let expected = exact(&values_of_query, [&keys, &values], &bias, 0.25, softcap);
            let mut first: Option<Vec<f32>> = None;
            for stride in 1..4 {
                // The tokens are spread over the cache; everything else is NaN.
                let places = tokens * stride + 3;
                let place = |position: usize| (position * stride + seed as usize % places) % places;
                let history: Vec<i32> = (0..tokens).map(|position| place(position) as i32).collect();
                let spread = |tokens: &[f32]| {
                    let mut cache = vec![f32::NAN; places * size];
                    for (position, token) in tokens.chunks(size).enumerate() {
                        cache[place(position) * size..][..size].copy_from_slice(token);
                    }
                    cache
                };
                let query = Query {
                    query: &values_of_query,
                    keys: &spread(&keys),
                    values: &spread(&values),
                    history: &history,
                    bias: Some(&bias),
                    scale: 0.25,
                    softcap,
                };
                let (mut probs, mut attended) = (vec![7.0; 5], vec![f32::NAN; size]);
                attend(&query, &mut probs, &mut Softmax::default(), &mut attended);
                for (found, exact) in attended.iter().zip(&expected) {
                    prop_assert!((f64::from(*found) - exact).abs() < 1e-4, "{} {}", found, exact);
                }
                prop_assert_eq!(first.get_or_insert_with(|| attended.clone()), &attended);
            }
        }

        /// Rows of several sequences and lengths beside each other, each after its own is written.
        #[test]
        fn rows_attend_to_their_own_histories(
            pasts in prop::collection::vec(0_usize..9, 1..6),
            size in 1_usize..20,
            window in 1_usize..14,
            seed: u32,
        ) {
            let (heads, rows, room) = (2, pasts.len(), 10);
            let (hidden, places) = (heads * size, rows * room);
            let past: Vec<i32> = pasts.iter().map(|&past| past as i32).collect();
            // Of each row every place, the last ones first.
            let table: Vec<i32> = (0..rows * room)
                .map(|index| (index / room * room + room - 1 - index % room) as i32)
                .collect();
            let histories = Histories { places: &table, room, past: &past };
            let queries = numbers(rows * hidden, seed);
            let mut caches = [1, 2].map(|salt| numbers(places * hidden, seed ^ salt));
            for (cache, salt) in caches.iter_mut().zip([3, 4]) {
                append(&numbers(rows * hidden, seed ^ salt), &histories, size, cache);
            }
            let attention = CachedAttention {
                queries: &queries,
                keys: &caches[0],
                values: &caches[1],
                places,
                rows,
                heads,
                kv_heads: heads,
                size,
                histories,
                bias: None,
                bias_length: 0,
                scale: 0.5,
                softcap: None,
                window,
                elsewhere: None,
            };
            let mut together = vec![f32::NAN; rows * hidden];
            attention.attend(&SingleThread, &mut together).unwrap();
            for (row, &past) in pasts.iter().enumerate() {
                for head in 0..heads {
                    let of_head = |cache: &[f32]| -> Vec<f32> {
                        let cache = &cache[head * places * size..][..places * size];
                        histories.of(row).iter()
                            .flat_map(|&place| cache[place as usize * size..][..size].to_vec())
                            .collect()
                    };
                    let start = row * hidden + head * size;
                    let newest = numbers(rows * hidden, seed ^ 3);
                    let keys = of_head(&caches[0]);
                    prop_assert_eq!(&keys[past * size..], &newest[start..start + size]);
                    let query = &queries[start..start + size];
                    let values = of_head(&caches[1]);
                    let first = (past + 1).saturating_sub(window) * size;
                    let seen = [&keys[first..], &values[first..]];
                    let zeros = vec![0.0; past + 1];
                    let expected = exact(query, seen, &zeros, 0.5, None);
                    for (found, exact) in together[start..start + size].iter().zip(expected) {
                        prop_assert!((f64::from(*found) - exact).abs() < 1e-4);
                    }
                }
            }
        }

        #[test]
        fn two_attentions_merge_to_one_over_both_and_heads_share_keys(
            size in 1_usize..40,
            tokens in 2_usize..30,
            here in 1_usize..30,
            seed: u32,
        ) {
            let (here, heads, kv_heads) = (here.min(tokens - 1), 4, 2);
            let queries = numbers(heads * size, seed);
            let [keys, values] = [1, 2].map(|salt| numbers(kv_heads * tokens * size, seed ^ salt));
            let attention = |places: std::ops::Range<usize>, elsewhere| {
                let table: Vec<i32> = places.map(|place| place as i32).collect();
                let past = [table.len() as i32 - 1];
                let attention = CachedAttention {
                    queries: &queries,
                    keys: &keys,
                    values: &values,
                    places: tokens,
                    rows: 1,
                    heads,
                    kv_heads,
                    size,
                    histories: Histories { places: &table, room: table.len(), past: &past },
                    bias: None,
                    bias_length: 0,
                    scale: 0.25,
                    softcap: None,
                    window: usize::MAX,
                    elsewhere,
                };
                let mut attended = vec![f32::NAN; heads * size];
                let Ok(()) = attention.attend(&SingleThread, &mut attended);
                attended
            };
            let elsewhere = attention(here..tokens, None);
            // What cross-attention gives of the same tokens.
            let sums: Vec<f32> = queries
                .chunks(size)
                .enumerate()
                .flat_map(|(head, query)| {
                    let keys = &keys[kv_head(head, heads, kv_heads) * tokens * size..];
                    let scores: Vec<f32> = keys[here * size..tokens * size]
                        .chunks(size)
                        .map(|key| query.iter().zip(key).map(|(a, b)| a * b).sum::<f32>() * 0.25)
                        .collect();
                    let max = scores.iter().copied().fold(f32::MIN, f32::max);
                    [max, scores.iter().map(|score| (score - max).exp()).sum()]
                })
                .collect();
            let merged = attention(0..here, Some(Elsewhere { attended: &elsewhere, sums: &sums }));
            for (head, merged) in merged.chunks(size).enumerate() {
                let first = kv_head(head, heads, kv_heads) * tokens * size;
                let both = [&keys, &values].map(|all| &all[first..][..tokens * size]);
                let query = &queries[head * size..][..size];
                let expected = exact(query, both, &vec![0.0; tokens], 0.25, None);
                for (found, exact) in merged.iter().zip(&expected) {
                    prop_assert!((f64::from(*found) - exact).abs() < 1e-4, "{} {}", found, exact);
                }
            }
        }
    }
}
