//! An encoder's attention: each document over itself.
//!
//! The scores of a few queries with a segment of keys are in memory at a time, and an online
//! softmax merges the segments, as in FlashAttention (Dao et al. 2022). For each segment, the keys
//! that each query sees and the biases of its scores are computed.

use std::cell::RefCell;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::element::{pack_keys, pack_values};
use super::kernel::{
    Head, KeyMask, KvElement, PackedKv, Scratch, Segment, SegmentRow, StoredKv, View,
};
use super::kv_head;
use super::padding::{padded_head_size, padded_positions};
pub use super::pattern::Pattern;
use super::pattern::RANGES;
pub use super::relative_bias::RelativeBias;
#[cfg(target_arch = "x86_64")]
use super::rounded;
use super::self_attention_head::{HeadGlobals, SelfAttentionHead};
use crate::parallel::{Columns, Disjoint, ThreadPool, parallel_for};
use crate::simd::lanes::LANES;

/// Queries that share a pass over the keys. They fill whole tiles, and their scores stay in the
/// second-level cache.
const QUERIES: usize = 48;
/// Keys whose scores are in memory at a time, at most.
const KEYS: usize = 1024;
/// Queries of a task, at most, which share packed keys and fill whole passes.
const QUERIES_PER_TASK: usize = 85 * QUERIES;

/// The self-attention of a batch of documents.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention<'a> {
    /// Queries: `[batch * queries, heads * size]`.
    pub queries: &'a [f32],
    /// Keys: `[batch * source, kv_heads * size]`.
    pub keys: &'a [f32],
    /// Values: `[batch * source, kv_heads * size]`.
    pub values: &'a [f32],
    /// Mask of the tokens, 0 for hidden ones: `[batch, source]`.
    pub mask: &'a [i32],
    /// Number of documents.
    pub batch: usize,
    /// Queries of a document. They are its positions, unless the pattern is [`Pattern::Full`].
    pub queries_of_document: usize,
    /// Positions of a document, padding included.
    pub source: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of the keys and values. `heads / kv_heads` heads of queries share one.
    pub kv_heads: usize,
    /// Size of a head.
    pub size: usize,
    /// The tokens that each query sees.
    pub pattern: Pattern,
    /// Bias of the scores; `None` for [`Pattern::BigBird`].
    pub bias: Option<RelativeBias<'a>>,
    /// Further keys and values, which all queries see.
    pub globals: Option<Globals<'a>>,
    /// Scale of the scores, usually `1 / sqrt(size)`.
    pub scale: f32,
    /// Soft cap: scores become `softcap * tanh(score / softcap)`.
    pub softcap: Option<f32>,
    /// Whether a processor with AMX may split each factor into two bfloat16 numbers. Then products
    /// are within 2^-16. Otherwise all arithmetic is float32.
    pub split: bool,
    /// Whether a processor with AVX-512 VNNI may round factors to integers of 12 bits or more, if
    /// they are not split. Heads of more than 512 columns are always computed in float32.
    pub round: bool,
}

/// Global keys and values, which all queries of a document see in addition to its tokens.
#[derive(Clone, Copy, Debug)]
pub struct Globals<'a> {
    /// Keys: `[batch * count, kv_heads * size]`.
    pub keys: &'a [f32],
    /// Values: `[batch * count, kv_heads * size]`.
    pub values: &'a [f32],
    /// Mask, 0 for hidden positions: `[batch, count]`.
    pub mask: &'a [i32],
    /// Number of global positions of each document.
    pub count: usize,
    /// Bias of the scores of global keys.
    pub bias: Option<GlobalBias<'a>>,
}

/// Bias of the scores of [`Globals`] that stand for blocks of tokens.
#[derive(Clone, Copy, Debug)]
pub struct GlobalBias<'a> {
    /// Biases by distance in blocks.
    pub bias: RelativeBias<'a>,
    /// Block of each query: `[batch, queries]`.
    pub blocks: &'a [i32],
}

impl SelfAttention<'_> {
    /// Writes the result to `attended`, `[batch * queries, heads * size]`. A query that sees
    /// nothing gets zeros.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the sizes say.
    pub fn attend<P: ThreadPool>(&self, pool: &P, attended: &mut [f32]) -> Result<(), P::Error> {
        let (heads, size, source) = (self.heads, self.size, self.source);
        let (hidden, queries) = (heads * size, self.queries_of_document);
        if attended.is_empty() {
            return Ok(());
        }
        let attended = Disjoint::new(attended);
        let tasks_per_head = queries.div_ceil(QUERIES_PER_TASK);
        let multiplications = 2 * self.batch * queries * source * hidden;
        parallel_for(pool, self.batch * heads * tasks_per_head, 1, multiplications, |range| {
            for task in range {
                let (row, index) = (task / tasks_per_head, task % tasks_per_head);
                let (document, head) = (row / heads, row % heads);
                let first = index * QUERIES_PER_TASK;
                let positions = first..(first + QUERIES_PER_TASK).min(queries);
                let first = (document * queries + positions.start) * hidden + head * size;
                // SAFETY: only this task writes these columns of these rows.
                let mut to = unsafe { Columns::new(&attended, first, size, hidden) };
                let put = |row: usize, result: &[f32]| to.row(row).copy_from_slice(&result[..size]);
                let head = self.head([document, head], positions);
                #[cfg(target_arch = "x86_64")]
                if self.split && amx::is_available() && amx::can_attend(&head) {
                    amx::attend(&head, put);
                    continue;
                }
                #[cfg(target_arch = "x86_64")]
                if self.round && rounded::can_attend(size) {
                    ROUNDED.with_borrow_mut(|scratch| attend(&head, scratch, put));
                    continue;
                }
                FLOATS.with_borrow_mut(|scratch| attend(&head, scratch, put));
            }
        })
    }

    /// The queries at some positions of a document, for one head.
    fn head(&self, [document, head]: [usize; 2], positions: Range<usize>) -> SelfAttentionHead<'_> {
        let source = self.source;
        let queries = self.queries_of_document;
        let [stride, kv_stride] = [self.heads, self.kv_heads].map(|heads| heads * self.size);
        let kv = kv_head(head, self.heads, self.kv_heads);
        let columns = |matrix, count| {
            let matrix: &[f32] = matrix;
            let (start, end) = (document * count, (document + 1) * count);
            &matrix[start * kv_stride + kv * self.size..end * kv_stride]
        };
        let first = (document * queries + positions.start) * stride + head * self.size;
        let mask = &self.mask[document * source..][..source];
        SelfAttentionHead {
            queries: &self.queries[first..(document + 1) * queries * stride],
            stride,
            keys: columns(self.keys, source),
            values: columns(self.values, source),
            kv_stride,
            size: self.size,
            positions,
            source,
            mask: match self.globals {
                Some(_) => KeyMask::or_empty(mask),
                None => KeyMask::new(mask),
            },
            pattern: self.pattern,
            bias: self.bias.map(|bias| bias.head(head)),
            globals: self.globals.filter(|globals| globals.count > 0).map(|globals| {
                let count = globals.count;
                HeadGlobals {
                    keys: columns(globals.keys, count),
                    values: columns(globals.values, count),
                    mask: KeyMask::or_empty(&globals.mask[document * count..][..count]),
                    count,
                    bias: globals.bias.map(|bias| {
                        (bias.bias.head(head), &bias.blocks[document * queries..][..queries])
                    }),
                }
            }),
            scale: self.scale,
            softcap: self.softcap,
        }
    }
}

thread_local! {
    /// Scratch memory of the float32 kernel.
    static FLOATS: RefCell<AttentionScratch<FloatKv>> = RefCell::default();
    /// Scratch memory of the rounded kernel.
    #[cfg(target_arch = "x86_64")]
    static ROUNDED: RefCell<AttentionScratch<rounded::RoundedKv>> = RefCell::default();
}

/// Keys and values in float32.
#[derive(Default)]
struct FloatKv {
    keys: Vec<f32>,
    values: Vec<f32>,
    size: usize,
}

impl PackedKv for FloatKv {
    type Element = f32;

    fn pack(&mut self, [keys, values]: [&[f32]; 2], mask: KeyMask<'_>, sizes: [usize; 2]) {
        let [stride, size] = sizes;
        self.keys.resize(padded_positions(mask.length) * size, 0.0);
        self.values.resize(mask.length * padded_head_size(size), 0.0);
        self.size = size;
        pack_keys(keys, stride, size, &mut self.keys);
        pack_values(values, stride, size, &mut self.values);
    }

    fn segment<'a>(&'a self, first: usize, view: View<'a>) -> Segment<'a, f32> {
        Segment {
            keys: &self.keys[first * self.size..],
            values: &self.values[first * padded_head_size(self.size)..],
            scales: [&[]; 2],
            view,
        }
    }

    fn attend(head: &Head<'_, f32>, (): &mut (), scratch: &mut Scratch) {
        f32::attend(head, scratch);
    }
}

/// Scratch memory of [`attend`].
#[derive(Default)]
struct AttentionScratch<P: PackedKv> {
    tokens: P,
    globals: P,
    /// The left factors of a segment.
    factors: <P::Element as KvElement>::Factors,
    /// Biases of the tokens, by distance.
    bias: Vec<f32>,
    /// Biases of the global keys, by distance.
    global_bias: Vec<f32>,
    /// Biases of the first range that a query sees.
    first_range_bias: Vec<f32>,
    /// The segments of a pass.
    ranges: Vec<SegmentRange>,
    /// What each query sees: `[segments, queries]`.
    rows: Vec<SegmentRow>,
    scratch: Scratch,
}

/// The keys of a segment of a pass.
struct SegmentRange {
    keys: Range<usize>,
    kind: SegmentKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SegmentKind {
    Tokens,
    /// Tokens that count more than once.
    Repeated,
    Globals,
}

/// Attends with all queries. `put` gets the index of each query, from 0 on, and its result.
fn attend<P: PackedKv>(
    head: &SelfAttentionHead<'_>,
    scratch: &mut AttentionScratch<P>,
    mut put: impl FnMut(usize, &[f32]),
) {
    let &SelfAttentionHead { stride, kv_stride, size, source, pattern, .. } = head;
    let positions = head.positions.clone();
    let AttentionScratch {
        tokens,
        globals,
        factors,
        bias,
        global_bias,
        first_range_bias,
        ranges,
        rows,
        scratch,
    } = scratch;
    // The keys that any query sees. The first packed key is the first of a block.
    let seen = pattern.seen_by(&positions, source);
    let first = seen.start / LANES * LANES;
    let end = seen.end.min(head.mask.length).max(first);
    let from_first = [head.keys, head.values].map(|rows| &rows[first * kv_stride..]);
    tokens.pack(from_first, head.mask.slice(first..end), [kv_stride, size]);
    if let Some(head_bias) = head.bias {
        // The distances begin with that of the first key from the last query.
        let farthest = first as isize - (positions.end - 1) as isize;
        head_bias.expand(farthest, end - first + positions.len(), bias);
    }
    if let Some(head_globals) = &head.globals {
        let keys_and_values = [head_globals.keys, head_globals.values];
        globals.pack(keys_and_values, head_globals.mask, [kv_stride, size]);
        if let Some((head_bias, _)) = head_globals.bias {
            let count = head_globals.count;
            head_bias.expand(-(count as isize), 2 * count + 2, global_bias);
        }
    }
    let mut start = positions.start;
    while start < positions.end {
        let queries = start..(start + QUERIES).min(pattern.group_end(start)).min(positions.end);
        ranges.clear();
        rows.clear();
        let bias_of_first_range = pattern.first_range_bias(start, source);
        if let Some(bias) = bias_of_first_range {
            first_range_bias.clear();
            first_range_bias.resize(KEYS, bias);
        }
        let [seen_by_first, seen_by_last] =
            [queries.start, queries.end - 1].map(|query| pattern.seen(query, source));
        for range in 0..RANGES {
            let keys = seen_by_first[range].start / LANES * LANES..seen_by_last[range].end.min(end);
            let repeated = range == 0 && bias_of_first_range.is_some();
            let kind = if repeated { SegmentKind::Repeated } else { SegmentKind::Tokens };
            for keys in cut(keys) {
                rows.extend(queries.clone().map(|query| {
                    let seen = &pattern.seen(query, source)[range];
                    let within =
                        |position: usize| position.clamp(keys.start, keys.end) - keys.start;
                    SegmentRow {
                        seen: within(seen.start)..within(seen.end),
                        bias: match kind {
                            SegmentKind::Repeated => 0,
                            _ => keys.start - first + (positions.end - 1 - query),
                        },
                    }
                }));
                ranges.push(SegmentRange { keys, kind });
            }
        }
        if let Some(head_globals) = &head.globals {
            for keys in cut(0..head_globals.mask.length) {
                rows.extend(queries.clone().map(|query| {
                    let bias = head_globals.bias.map_or(0, |(_, blocks)| {
                        let count = head_globals.count as isize;
                        let block = (blocks[query] as isize).clamp(-1, count);
                        (keys.start as isize + count - block) as usize
                    });
                    SegmentRow { seen: 0..keys.len(), bias }
                }));
                ranges.push(SegmentRange { keys, kind: SegmentKind::Globals });
            }
        }
        let segments: Vec<_> = ranges
            .iter()
            .zip(rows.chunks_exact(queries.len()))
            .map(|(SegmentRange { keys, kind }, rows)| match (kind, &head.globals) {
                (SegmentKind::Globals, Some(head_globals)) => {
                    let bias = head_globals.bias.map(|_| &global_bias[..]);
                    let mask = head_globals.mask.slice(keys.clone());
                    globals.segment(keys.start, View { mask, rows, bias })
                }
                _ => {
                    let bias = match kind {
                        SegmentKind::Repeated => Some(&first_range_bias[..]),
                        _ => head.bias.map(|_| &bias[..]),
                    };
                    let mask = head.mask.slice(keys.clone());
                    tokens.segment(keys.start - first, View { mask, rows, bias })
                }
            })
            .collect();
        let skipped = queries.start - positions.start;
        let tile = Head {
            queries: &head.queries[skipped * stride..],
            rows: queries.len(),
            stride,
            size,
            segments: &segments,
            prefetch: false,
            scale: head.scale,
            softcap: head.softcap,
        };
        P::attend(&tile, factors, scratch);
        let results = scratch.attended.chunks(padded_head_size(size));
        for (row, result) in results.take(queries.len()).enumerate() {
            put(skipped + row, result);
        }
        start = queries.end;
    }
}

/// Cuts keys into as few segments of at most [`KEYS`] keys as possible, of about the same length.
/// The first key is a multiple of [`LANES`], and each segment is whole blocks of [`LANES`] keys.
fn cut(keys: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let count = keys.len().div_ceil(KEYS);
    let step = keys.len().div_ceil(count.max(1)).next_multiple_of(LANES).max(LANES);
    keys.clone().step_by(step).map(move |first| first..(first + step).min(keys.end))
}

#[cfg(test)]
mod tests;
