//! A decoder's attention of new tokens over themselves and the tokens before them, whose keys and
//! values are all in one cache.

use super::kernel::{Softmax, cap, softmax};
use super::{SCRATCH, kv_head};
use crate::parallel::{Disjoint, ThreadPool, parallel_for};
use crate::simd::exp::exp;
use crate::simd::lanes::{LANES, Lanes, dispatch_lanes};

/// Positions whose scores are computed together, so that no sum waits for another.
const POSITIONS: usize = 4;
/// Vectors of columns that are summed together.
const VECTORS: usize = 4;
/// Tasks of a large step, at most.
const MAX_TASKS: usize = 128;

/// The new tokens of some sequences, one token a row, and the key/value cache.
#[derive(Clone, Copy, Debug)]
pub struct CachedAttention<'a> {
    /// Queries: `[rows * streams, heads * size]`.
    pub queries: &'a [f32],
    /// Keys and values of the new tokens: `[rows * streams, kv_heads * size]` each.
    pub new: [&'a [f32]; 2],
    /// Keys and values before all tokens, which every row sees: `[prompt, kv_heads * size]` each.
    /// Empty without a prompt.
    pub prompt: [&'a [f32]; 2],
    /// Cached keys: `[kv_heads, slots, size]`.
    pub keys: &'a [f32],
    /// Cached values: `[kv_heads, slots, size]`.
    pub values: &'a [f32],
    /// Slots of the cache, one for each token.
    pub slots: usize,
    /// Number of new tokens.
    pub rows: usize,
    /// Queries of each new token. The first query is the token's own. The others see what the
    /// token sees, and their own key, which no other query sees.
    pub streams: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of the keys and values. `heads / kv_heads` heads of queries share one.
    pub kv_heads: usize,
    /// Size of a head.
    pub size: usize,
    /// Slots of the tokens that each row attends to.
    pub cache_indirection: CacheIndirection<'a>,
    /// Bias of the scores. The keys of the prompt have none.
    pub bias: Option<Bias<'a>>,
    /// Scale of the scores, usually `1 / sqrt(size)`.
    pub scale: f32,
    /// Soft cap: scores become `softcap * tanh(score / softcap)`.
    pub softcap: Option<f32>,
    /// Tokens that a token sees, itself included.
    pub window: usize,
    /// Result of cross-attention to merge into the same softmax.
    pub cross_attended: Option<CrossAttended<'a>>,
}

/// Bias that is added to the scores.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a> {
    /// `[heads, rows, length]`, or `[rows * streams, heads, length]` if `per_query`. Then the last
    /// value of a query is for its own key, if the cache does not hold that.
    pub values: &'a [f32],
    /// Tokens of the longest history, or more; at least one more if `per_query`.
    pub length: usize,
    /// Whether each query has its own values.
    pub per_query: bool,
}

/// Result of cross-attention, with the sums of its softmax.
#[derive(Clone, Copy, Debug)]
pub struct CrossAttended<'a> {
    /// Weighted values: `[rows * streams, heads * size]`.
    pub attended: &'a [f32],
    /// The largest score and the sum of `exp(score - largest)`: `[rows * streams, heads, 2]`.
    pub sums: &'a [f32],
}

/// The slots of the cache that hold the tokens of each row. A row's new token is its last.
#[derive(Clone, Copy, Debug)]
pub struct CacheIndirection<'a> {
    /// Slot of each token: `[rows, max_length]`. The first `past + 1` of a row count.
    pub slots: &'a [i32],
    /// Length of a row of `slots`.
    pub max_length: usize,
    /// Tokens before the new one of each row: `[rows]`.
    pub past: &'a [i32],
}

impl<'a> CacheIndirection<'a> {
    /// The slots of a row's tokens.
    ///
    /// # Panics
    ///
    /// When the row has more than `max_length` tokens.
    pub fn slots_of(&self, row: usize) -> &'a [i32] {
        &self.slots[row * self.max_length..][..self.max_length][..self.past[row] as usize + 1]
    }

    /// Number of tokens of all rows together.
    fn tokens(&self) -> usize {
        self.past.iter().map(|&past| past as usize + 1).sum()
    }
}

impl CachedAttention<'_> {
    /// Writes the result to `attended`, `[rows * streams, heads * size]`. The result of a token has
    /// the same bits whatever the other rows are, and in whatever slots its tokens are.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the sizes say, or a slot is not below `slots`.
    pub fn attend<P: ThreadPool>(&self, pool: &P, attended: &mut [f32]) -> Result<(), P::Error> {
        let &Self { heads, size, streams, .. } = self;
        let (hidden, kv_hidden) = (heads * size, self.kv_heads * size);
        let queries = self.rows * streams;
        let prompt = self.prompt[0].len() / kv_hidden.max(1);
        let attended = Disjoint::new(attended);
        let tokens = self.cache_indirection.tokens() + self.rows * prompt;
        let multiplications = 2 * tokens * hidden * streams;
        let per_task = (queries * heads).div_ceil(MAX_TASKS);
        parallel_for(pool, queries * heads, per_task, multiplications, |range| {
            SCRATCH.with_borrow_mut(|scratch| {
                for head_and_query in range {
                    // Rows of a document follow each other, and share most of their history.
                    let (head, index) = (head_and_query / queries, head_and_query % queries);
                    let (row, stream) = (index / streams, index % streams);
                    let kv = kv_head(head, heads, self.kv_heads);
                    let head_range = kv * self.slots * size..(kv + 1) * self.slots * size;
                    let history = self.cache_indirection.slots_of(row);
                    let seen = history.len().saturating_sub(self.window)..history.len();
                    let start = index * hidden + head * size;
                    let own = index * kv_hidden + kv * size;
                    let [keys, values] = [0, 1].map(|part| Tokens {
                        prompt: self.prompt[part].get(kv * size..).unwrap_or_default(),
                        cached: &[self.keys, self.values][part][head_range.clone()],
                        own: (stream > 0).then(|| &self.new[part][own..own + size]),
                    });
                    let query = Query {
                        query: &self.queries[start..start + size],
                        keys,
                        values,
                        prompt,
                        stride: kv_hidden,
                        history: &history[seen.clone()],
                        bias: self.bias.map(|bias| {
                            let row = match bias.per_query {
                                true => index * heads + head,
                                false => head * self.rows + row,
                            };
                            let row_bias = &bias.values[row * bias.length..][..bias.length];
                            (&row_bias[seen.clone()], row_bias[bias.length - 1])
                        }),
                        scale: self.scale,
                        softcap: self.softcap,
                    };
                    // SAFETY: only this task writes the head's columns of the row.
                    let attended = unsafe { attended.part(start..start + size) };
                    let mut softmax = Softmax::default();
                    attend(&query, &mut scratch.probs, &mut softmax, attended);
                    if let Some(cross) = self.cross_attended {
                        let other = &cross.attended[start..start + size];
                        let [max, sum] = cross.sums.as_chunks().0[index * heads + head];
                        merge(attended, softmax, other, Softmax { max, sum });
                    }
                }
            });
        })
    }
}

/// Merges the results of two attentions into that of one softmax over the keys of both.
fn merge(attended: &mut [f32], softmax: Softmax, other: &[f32], other_softmax: Softmax) {
    let max = softmax.max.max(other_softmax.max);
    let [weight, other_weight] = [softmax, other_softmax].map(|own| own.sum * exp(own.max - max));
    let fraction = weight / (weight + other_weight);
    let other_fraction = other_weight / (weight + other_weight);
    for (attended, other) in attended.iter_mut().zip(other) {
        *attended = *attended * fraction + other * other_fraction;
    }
}

/// Writes the keys or values of new tokens, `[rows * streams, kv_heads * size]`, to a cache,
/// `[kv_heads, slots, size]`. The first stream of each token goes to the token's slot.
///
/// # Panics
///
/// When a slot is beyond the cache.
pub fn append(
    new: &[f32],
    cache_indirection: &CacheIndirection<'_>,
    [size, streams]: [usize; 2],
    cache: &mut [f32],
) {
    let rows = cache_indirection.past.len() * streams;
    let Some(hidden) = new.len().checked_div(rows).filter(|&hidden| hidden > 0) else {
        return;
    };
    let head_len = cache.len() / (hidden / size);
    for (row, new) in new.chunks_exact(hidden * streams).enumerate() {
        let slot = cache_indirection.slots_of(row).last().map_or(0, |&slot| slot as usize);
        let heads = new[..hidden].chunks_exact(size);
        for (cache, new) in cache.chunks_exact_mut(head_len).zip(heads) {
            cache[slot * size..][..size].copy_from_slice(new);
        }
    }
}

/// Keys, or values, that a query of one head attends to, in the order of the fields.
#[derive(Clone, Copy, Debug)]
struct Tokens<'a> {
    /// Keys (or values) of the prompt: `[prompt, stride]`. The first columns are the head's.
    prompt: &'a [f32],
    /// The head's part of the cache: `[slots, size]`.
    cached: &'a [f32],
    /// The query's own key (or value), if the cache does not hold it: `[size]`.
    own: Option<&'a [f32]>,
}

/// A query of one head, with the keys and values that it attends to.
#[derive(Clone, Copy, Debug)]
struct Query<'a> {
    /// The query: `[size]`.
    query: &'a [f32],
    keys: Tokens<'a>,
    values: Tokens<'a>,
    /// Positions of the prompt.
    prompt: usize,
    /// Distance between two positions of the prompt, in values.
    stride: usize,
    /// Slots of the tokens.
    history: &'a [i32],
    /// Bias of each token in `history`, and bias of the query's own key.
    bias: Option<(&'a [f32], f32)>,
    /// Scale of the scores.
    scale: f32,
    /// Soft cap of the scores.
    softcap: Option<f32>,
}

impl<'a> Query<'a> {
    fn positions(&self) -> usize {
        self.prompt + self.history.len() + usize::from(self.keys.own.is_some())
    }

    /// The key or value at `position`: `[size]`.
    #[inline(always)]
    fn token(&self, tokens: Tokens<'a>, position: usize) -> &'a [f32] {
        let size = self.query.len();
        let Some(token) = position.checked_sub(self.prompt) else {
            return &tokens.prompt[position * self.stride..][..size];
        };
        match (self.history.get(token), tokens.own) {
            (None, Some(own)) => own,
            (slot, _) => &tokens.cached[slot.map_or(0, |&slot| slot as usize) * size..][..size],
        }
    }
}

#[inline(always)]
fn attend_body<L: Lanes>(
    query: &Query<'_>,
    probs: &mut Vec<f32>,
    query_softmax: &mut Softmax,
    attended: &mut [f32],
) {
    let positions = query.positions();
    probs.clear();
    probs.resize(positions.next_multiple_of(LANES), f32::NEG_INFINITY);
    let whole = positions - positions % POSITIONS;
    for first in (0..whole).step_by(POSITIONS) {
        let scores = scores::<L, POSITIONS>(query, first);
        probs[first..first + POSITIONS].copy_from_slice(&scores);
    }
    for (position, prob) in probs[..positions].iter_mut().enumerate().skip(whole) {
        [*prob] = scores::<L, 1>(query, position);
    }
    if let Some(softcap) = query.softcap {
        cap(&mut probs[..positions], softcap);
    }
    if let Some((bias, own)) = query.bias {
        for (prob, bias) in probs[query.prompt..].iter_mut().zip(bias) {
            *prob += bias;
        }
        if query.keys.own.is_some() {
            probs[positions - 1] += own;
        }
    }
    *query_softmax = softmax(probs);
    let probs = &probs[..positions];
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

/// Scores of the `P` positions from `first` on. A score has the same bits for every `P`.
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
    /// Attends with one query. Writes the result to `attended`, `[size]`, and the softmax to
    /// `query_softmax`; `probs` is scratch memory. The result does not depend on the slots.
    fn attend(
        query: &Query<'_>,
        probs: &mut Vec<f32>,
        query_softmax: &mut Softmax,
        attended: &mut [f32],
    ) = attend_body;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parallel::SingleThread;

    /// Pseudorandom numbers from -2 to 2.
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
                // The tokens are spread over the cache. The other slots are NaN.
                let slots = tokens * stride + 3;
                let slot = |position: usize| (position * stride + seed as usize % slots) % slots;
                let history = (0..tokens).map(|position| slot(position) as i32);
                let history: Vec<i32> = history.collect();
                let spread = |tokens: &[f32]| {
                    let mut cache = vec![f32::NAN; slots * size];
                    for (position, token) in tokens.chunks(size).enumerate() {
                        cache[slot(position) * size..][..size].copy_from_slice(token);
                    }
                    cache
                };
                let caches = [spread(&keys), spread(&values)];
                let [keys, values] =
                    caches.each_ref().map(|cached| Tokens { prompt: &[], cached, own: None });
                let query = Query {
                    query: &values_of_query,
                    keys,
                    values,
                    prompt: 0,
                    stride: size,
                    history: &history,
                    bias: Some((&bias, f32::NAN)),
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

        /// Rows of several sequences and lengths, whose new keys and values are in the cache.
        #[test]
        fn rows_attend_to_their_own_histories(
            pasts in prop::collection::vec(0_usize..9, 1..6),
            size in 1_usize..20,
            window in 1_usize..14,
            seed: u32,
        ) {
            let (heads, rows, max_length) = (2, pasts.len(), 10);
            let (hidden, slots) = (heads * size, rows * max_length);
            let past: Vec<i32> = pasts.iter().map(|&past| past as i32).collect();
            // Each row uses its slots in reverse order.
            let table: Vec<i32> = (0..rows)
                .flat_map(|row| (row * max_length..(row + 1) * max_length).rev())
                .map(|slot| slot as i32)
                .collect();
            let cache_indirection = CacheIndirection { slots: &table, max_length, past: &past };
            let queries = numbers(rows * hidden, seed);
            let mut caches = [1, 2].map(|salt| numbers(slots * hidden, seed ^ salt));
            for (cache, salt) in caches.iter_mut().zip([3, 4]) {
                append(&numbers(rows * hidden, seed ^ salt), &cache_indirection, [size, 1], cache);
            }
            let attention = CachedAttention {
                queries: &queries,
                new: [&[]; 2],
                prompt: [&[]; 2],
                keys: &caches[0],
                values: &caches[1],
                slots,
                rows,
                streams: 1,
                heads,
                kv_heads: heads,
                size,
                cache_indirection,
                bias: None,
                scale: 0.5,
                softcap: None,
                window,
                cross_attended: None,
            };
            let mut together = vec![f32::NAN; rows * hidden];
            attention.attend(&SingleThread, &mut together).unwrap();
            for (row, &past) in pasts.iter().enumerate() {
                for head in 0..heads {
                    let tokens = |cache: &[f32]| -> Vec<f32> {
                        let cache = &cache[head * slots * size..][..slots * size];
                        cache_indirection.slots_of(row).iter()
                            .flat_map(|&slot| cache[slot as usize * size..][..size].to_vec())
                            .collect()
                    };
                    let start = row * hidden + head * size;
                    let newest = numbers(rows * hidden, seed ^ 3);
                    let keys = tokens(&caches[0]);
                    prop_assert_eq!(&keys[past * size..], &newest[start..start + size]);
                    let query = &queries[start..start + size];
                    let values = tokens(&caches[1]);
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
            let attention = |slots: std::ops::Range<usize>, cross_attended| {
                let slots: Vec<i32> = slots.map(|slot| slot as i32).collect();
                let max_length = slots.len();
                let past = [max_length as i32 - 1];
                let attention = CachedAttention {
                    queries: &queries,
                    new: [&[]; 2],
                    prompt: [&[]; 2],
                    keys: &keys,
                    values: &values,
                    slots: tokens,
                    rows: 1,
                    streams: 1,
                    heads,
                    kv_heads,
                    size,
                    cache_indirection: CacheIndirection { slots: &slots, max_length, past: &past },
                    bias: None,
                    scale: 0.25,
                    softcap: None,
                    window: usize::MAX,
                    cross_attended,
                };
                let mut attended = vec![f32::NAN; heads * size];
                let Ok(()) = attention.attend(&SingleThread, &mut attended);
                attended
            };
            let attended = attention(here..tokens, None);
            // The sums that cross-attention gives for the same tokens.
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
            let cross_attended = CrossAttended { attended: &attended, sums: &sums };
            let merged = attention(0..here, Some(cross_attended));
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

        #[test]
        fn streams_see_the_prompt_their_token_and_themselves(
            pasts in prop::collection::vec(0_usize..9, 1..4),
            size in 1_usize..20,
            prompt in 0_usize..4,
            streams in 1_usize..4,
            seed: u32,
        ) {
            let (rows, max_length) = (pasts.len(), 10);
            let (count, slots) = (rows * streams, rows * max_length);
            let past: Vec<i32> = pasts.iter().map(|&past| past as i32).collect();
            let table: Vec<i32> = (0..slots as i32).collect();
            let cache_indirection = CacheIndirection { slots: &table, max_length, past: &past };
            let matrix = |rows, salt| numbers(rows * size, seed ^ salt);
            let [queries, new_keys, new_values] = [1, 2, 3].map(|salt| matrix(count, salt));
            let mut caches = [4, 5].map(|salt| matrix(slots, salt));
            for (cache, new) in caches.iter_mut().zip([&new_keys, &new_values]) {
                append(new, &cache_indirection, [size, streams], cache);
            }
            let prompts = [6, 7].map(|salt| matrix(prompt, salt));
            let bias = numbers(count * (max_length + 1), seed ^ 8);
            let attention = CachedAttention {
                queries: &queries,
                new: [&new_keys, &new_values],
                prompt: [&prompts[0], &prompts[1]],
                keys: &caches[0],
                values: &caches[1],
                slots,
                rows,
                streams,
                heads: 1,
                size,
                kv_heads: 1,
                cache_indirection,
                bias: Some(Bias { values: &bias, length: max_length + 1, per_query: true }),
                scale: 0.25,
                softcap: None,
                window: usize::MAX,
                cross_attended: None,
            };
            let mut attended = vec![f32::NAN; count * size];
            attention.attend(&SingleThread, &mut attended).unwrap();
            for index in 0..count {
                let (row, own) = (index / streams, index % streams > 0);
                let tokens = (pasts[row] + 1) * size;
                let first = row * max_length * size;
                let newest = &caches[0][first..][pasts[row] * size..tokens];
                let columns = index * size..(index + 1) * size;
                prop_assert_eq!(newest, &new_keys[row * streams * size..][..size]);
                let seen = |part: usize, new: &[f32]| {
                    let own = if own { &new[columns.clone()] } else { &[] };
                    [&prompts[part], &caches[part][first..][..tokens], own].concat()
                };
                let bias = &bias[index * (max_length + 1)..][..max_length + 1];
                let zeros = vec![0.0; prompt];
                let bias = [&zeros, &bias[..=pasts[row]], &bias[max_length..]].concat();
                let (keys, values) = (seen(0, &new_keys), seen(1, &new_values));
                let query = &queries[columns.clone()];
                let expected = exact(query, [&keys, &values], &bias, 0.25, None);
                for (found, exact) in attended[columns].iter().zip(expected) {
                    prop_assert!((f64::from(*found) - exact).abs() < 1e-4, "{} {}", found, exact);
                }
            }
        }
    }
}
