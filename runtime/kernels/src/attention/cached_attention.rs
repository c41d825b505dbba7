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
    /// `[rows * streams, heads * size]`
    pub queries: &'a [f32],
    /// Keys and values of the queries: `[rows * streams, kv_heads * size]` each.
    pub new: [&'a [f32]; 2],
    /// Keys and values before those of all tokens, the same for every row: `[prompt, kv_heads *
    /// size]` each; empty where there are none.
    pub prompt: [&'a [f32]; 2],
    /// The cache: `[kv_heads, places, size]`.
    pub keys: &'a [f32],
    /// The cache: `[kv_heads, places, size]`.
    pub values: &'a [f32],
    /// Tokens that the cache has memory for.
    pub places: usize,
    /// New tokens.
    pub rows: usize,
    /// Queries of a new token. The first is the token's own. The others see what it sees, and their
    /// own key, which no other query sees.
    pub streams: usize,
    /// Heads.
    pub heads: usize,
    /// Heads of keys and values, each of which as many heads share.
    pub kv_heads: usize,
    /// Size of a head.
    pub size: usize,
    /// The history of each row.
    pub histories: Histories<'a>,
    /// Added to the scores, but to those of the prompt.
    pub bias: Option<Bias<'a>>,
    /// What scores are multiplied with.
    pub scale: f32,
    /// What scores approach and do not reach.
    pub softcap: Option<f32>,
    /// Tokens that a token sees, itself included.
    pub window: usize,
    /// What else the queries attend to, under the same softmax.
    pub elsewhere: Option<Elsewhere<'a>>,
}

/// What is added to scores.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a> {
    /// `[heads, rows, length]`, or `[rows * streams, heads, length]` where each query has its own:
    /// then the last is for the query's own key, where the cache does not hold that.
    pub values: &'a [f32],
    /// As many as the longest history has, and one more in the second case.
    pub length: usize,
    /// Whether each query has its own.
    pub of_queries: bool,
}

/// What an attention to other keys and values gave: cross-attention, with sums.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere<'a> {
    /// `[rows * streams, heads * size]`
    pub attended: &'a [f32],
    /// `[rows * streams, heads, 2]`: the largest score, and the sum of `exp(score - largest)`.
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
    /// Writes the result to `attended`, `[rows * streams, heads * size]`. A token's result has the
    /// same bits whatever rows are beside it, and wherever its history stands.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the sizes say, or a history names a place beyond those there
    /// are.
    pub fn attend<P: ThreadPool>(&self, pool: &P, attended: &mut [f32]) -> Result<(), P::Error> {
        let &Self { heads, size, streams, .. } = self;
        let (hidden, kv_hidden) = (heads * size, self.kv_heads * size);
        let queries = self.rows * streams;
        let prompt = self.prompt[0].len() / kv_hidden.max(1);
        let attended = Disjoint::new(attended);
        let tokens = self.histories.tokens() + self.rows * prompt;
        let multiplications = 2 * tokens * hidden * streams;
        let part = (queries * heads).div_ceil(PARTS);
        share(pool, queries * heads, part, multiplications, |parts| {
            SCRATCH.with_borrow_mut(|scratch| {
                for part in parts {
                    // Rows of a document follow each other, and share most of their history.
                    let (head, index) = (part / queries, part % queries);
                    let (row, stream) = (index / streams, index % streams);
                    let kv = kv_head(head, heads, self.kv_heads);
                    let of_head = kv * self.places * size..(kv + 1) * self.places * size;
                    let history = self.histories.of(row);
                    let seen = history.len().saturating_sub(self.window)..history.len();
                    let start = index * hidden + head * size;
                    let own = index * kv_hidden + kv * size;
                    let [keys, values] = [0, 1].map(|part| Tokens {
                        prompt: self.prompt[part].get(kv * size..).unwrap_or_default(),
                        cached: &[self.keys, self.values][part][of_head.clone()],
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
                            let row = match bias.of_queries {
                                true => index * heads + head,
                                false => head * self.rows + row,
                            };
                            let of_row = &bias.values[row * bias.length..][..bias.length];
                            (&of_row[seen.clone()], of_row[bias.length - 1])
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
                        let [max, sum] = elsewhere.sums.as_chunks().0[index * heads + head];
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

/// Writes the keys or values of new tokens, `[rows * streams, kv_heads * size]`, to a cache,
/// `[kv_heads, places, size]`: those of each token's first stream to the last place of its history.
///
/// # Panics
///
/// When a place is beyond those there are.
pub fn append(
    new: &[f32],
    histories: &Histories<'_>,
    [size, streams]: [usize; 2],
    cache: &mut [f32],
) {
    let rows = histories.past.len() * streams;
    let Some(hidden) = new.len().checked_div(rows).filter(|&hidden| hidden > 0) else {
        return;
    };
    let of_head = cache.len() / (hidden / size);
    for (row, new) in new.chunks_exact(hidden * streams).enumerate() {
        let place = histories.of(row).last().map_or(0, |&place| place as usize);
        let heads = new[..hidden].chunks_exact(size);
        for (cache, new) in cache.chunks_exact_mut(of_head).zip(heads) {
            cache[place * size..][..size].copy_from_slice(new);
        }
    }
}

/// Keys, or values, of what a query of one head attends to, in this order.
#[derive(Clone, Copy, Debug)]
struct Tokens<'a> {
    /// Those before all tokens: `[prompt, stride]`, of which the first columns are the head's.
    prompt: &'a [f32],
    /// The head's part of the cache: `[places, size]`.
    cached: &'a [f32],
    /// The query's own, where the cache does not hold it: `[size]`.
    own: Option<&'a [f32]>,
}

/// A query of one head, and what it attends to.
#[derive(Clone, Copy, Debug)]
struct Query<'a> {
    /// `[size]`
    query: &'a [f32],
    keys: Tokens<'a>,
    values: Tokens<'a>,
    /// Positions of the prompt.
    prompt: usize,
    /// Values from one of them to the next.
    stride: usize,
    /// Places of the tokens.
    history: &'a [i32],
    /// Added to the scores, as long as the history, and what is added to that of the query's own
    /// key behind it.
    bias: Option<(&'a [f32], f32)>,
    /// What scores are multiplied with.
    scale: f32,
    /// What scores approach and do not reach.
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
            (place, _) => &tokens.cached[place.map_or(0, |&it| it as usize) * size..][..size],
        }
    }
}

#[inline(always)]
fn attend_body<L: Lanes>(
    query: &Query<'_>,
    probs: &mut Vec<f32>,
    of_query: &mut Softmax,
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
    *of_query = softmax(probs);
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

/// Scores of the `P` positions from `first` on. Each is the same whichever are beside it.
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
                let history = (0..tokens).map(|position| place(position) as i32);
                let history: Vec<i32> = history.collect();
                let spread = |tokens: &[f32]| {
                    let mut cache = vec![f32::NAN; places * size];
                    for (position, token) in tokens.chunks(size).enumerate() {
                        cache[place(position) * size..][..size].copy_from_slice(token);
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
                append(&numbers(rows * hidden, seed ^ salt), &histories, [size, 1], cache);
            }
            let attention = CachedAttention {
                queries: &queries,
                new: [&[]; 2],
                prompt: [&[]; 2],
                keys: &caches[0],
                values: &caches[1],
                places,
                rows,
                streams: 1,
                heads,
                kv_heads: heads,
                size,
                histories,
                bias: None,
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
                    new: [&[]; 2],
                    prompt: [&[]; 2],
                    keys: &keys,
                    values: &values,
                    places: tokens,
                    rows: 1,
                    streams: 1,
                    heads,
                    kv_heads,
                    size,
                    histories: Histories { places: &table, room: table.len(), past: &past },
                    bias: None,
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

        #[test]
        fn streams_see_their_token_and_themselves_behind_a_prompt(
            pasts in prop::collection::vec(0_usize..9, 1..4),
            size in 1_usize..20,
            prompt in 0_usize..4,
            streams in 1_usize..4,
            seed: u32,
        ) {
            let (rows, room) = (pasts.len(), 10);
            let (queries, places) = (rows * streams, rows * room);
            let past: Vec<i32> = pasts.iter().map(|&past| past as i32).collect();
            let table: Vec<i32> = (0..places as i32).collect();
            let histories = Histories { places: &table, room, past: &past };
            let of = |count, salt| numbers(count * size, seed ^ salt);
            let [of_queries, new_keys, new_values] = [1, 2, 3].map(|salt| of(queries, salt));
            let mut caches = [4, 5].map(|salt| of(places, salt));
            for (cache, new) in caches.iter_mut().zip([&new_keys, &new_values]) {
                append(new, &histories, [size, streams], cache);
            }
            let prompts = [6, 7].map(|salt| of(prompt, salt));
            let bias = numbers(queries * (room + 1), seed ^ 8);
            let attention = CachedAttention {
                queries: &of_queries,
                new: [&new_keys, &new_values],
                prompt: [&prompts[0], &prompts[1]],
                keys: &caches[0],
                values: &caches[1],
                places,
                rows,
                streams,
                heads: 1,
                size,
                kv_heads: 1,
                histories,
                bias: Some(Bias { values: &bias, length: room + 1, of_queries: true }),
                scale: 0.25,
                softcap: None,
                window: usize::MAX,
                elsewhere: None,
            };
            let mut attended = vec![f32::NAN; queries * size];
            attention.attend(&SingleThread, &mut attended).unwrap();
            for query in 0..queries {
                let (row, own) = (query / streams, query % streams > 0);
                let tokens = (pasts[row] + 1) * size;
                let newest = (row * room + pasts[row]) * size..(row * room + pasts[row] + 1) * size;
                let of_row = query * size..(query + 1) * size;
                prop_assert_eq!(&caches[0][newest], &new_keys[row * streams * size..][..size]);
                let seen = |part: usize, new: &[f32]| {
                    let own = if own { &new[of_row.clone()] } else { &[] };
                    [&prompts[part], &caches[part][row * room * size..][..tokens], own].concat()
                };
                let bias = &bias[query * (room + 1)..][..room + 1];
                let zeros = vec![0.0; prompt];
                let bias = [&zeros, &bias[..=pasts[row]], &bias[room..]].concat();
                let (keys, values) = (seen(0, &new_keys), seen(1, &new_values));
                let queries = &of_queries[of_row.clone()];
                let expected = exact(queries, [&keys, &values], &bias, 0.25, None);
                for (found, exact) in attended[of_row].iter().zip(expected) {
                    prop_assert!((f64::from(*found) - exact).abs() < 1e-4, "{} {}", found, exact);
                }
            }
        }
    }
}
