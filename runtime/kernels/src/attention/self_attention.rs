//! An encoder's attention: each document over itself.
//!
//! The scores of a few queries with a segment of keys are in memory at a time, and an online
//! softmax joins the segments, as in FlashAttention (Dao et al. 2022). Which keys a query sees and
//! what is added to its scores are computed for each segment.

use std::cell::RefCell;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::element::{pack_keys, pack_values};
use super::kernel::{
    Head, KeyMask, KvElement, PackedKv, Scratch, Segment, SegmentRow, StoredKv, View,
};
pub use super::pattern::Pattern;
use super::pattern::RANGES;
pub use super::relative_bias::RelativeBias;
#[cfg(target_arch = "x86_64")]
use super::rounded;
use super::self_attention_head::{HeadGlobals, SelfAttentionHead};
use super::{kv_head, padded_head_size, padded_positions};
use crate::parallel::{Columns, Disjoint, ThreadPool, share};
use crate::simd::lanes::LANES;

/// Queries that share a pass over the keys: whole tiles, whose scores stay in the second-level
/// cache.
const QUERIES: usize = 48;
/// Keys whose scores are in memory at a time, at most.
const KEYS: usize = 1024;
/// Queries that share packed keys, at most: whole passes.
const QUERIES_OF_PART: usize = 85 * QUERIES;

/// The self-attention of a batch of documents.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention<'a> {
    /// `[batch * queries, heads * size]`
    pub queries: &'a [f32],
    /// `[batch * source, kv_heads * size]`
    pub keys: &'a [f32],
    /// `[batch * source, kv_heads * size]`
    pub values: &'a [f32],
    /// `[batch, source]`: 0 for tokens that nobody sees.
    pub mask: &'a [i32],
    /// Documents.
    pub batch: usize,
    /// Queries of a document: its positions, except where they see everything.
    pub queries_of_document: usize,
    /// Positions of a document, padding included.
    pub source: usize,
    /// Heads.
    pub heads: usize,
    /// Heads of keys and values, each of which as many heads share.
    pub kv_heads: usize,
    /// Size of a head.
    pub size: usize,
    /// Which tokens each query sees.
    pub pattern: Pattern,
    /// Added to the scores, except in BigBird's pattern.
    pub bias: Option<RelativeBias<'a>>,
    /// What all queries see besides.
    pub globals: Option<Globals<'a>>,
    /// What scores are multiplied with.
    pub scale: f32,
    /// What scores approach and do not reach.
    pub softcap: Option<f32>,
    /// Whether a processor with AMX may split factors into two bfloat16 each, whose products are
    /// within 2^-16; otherwise everything is float32.
    pub split: bool,
    /// Whether a processor with AVX-512 VNNI may round factors to integers of 12 bits and more,
    /// where they are not split: heads of 512 columns at most. Otherwise everything is float32.
    pub round: bool,
}

/// Keys and values that all queries of a document see besides its tokens.
#[derive(Clone, Copy, Debug)]
pub struct Globals<'a> {
    /// `[batch * count, kv_heads * size]`
    pub keys: &'a [f32],
    /// `[batch * count, kv_heads * size]`
    pub values: &'a [f32],
    /// `[batch, count]`: 0 for those that do not exist.
    pub mask: &'a [i32],
    /// How many of each document.
    pub count: usize,
    /// Added to their scores.
    pub bias: Option<GlobalBias<'a>>,
}

/// What is added to the scores of [`Globals`] that stand for blocks of tokens, by the number of
/// blocks between them and the query.
#[derive(Clone, Copy, Debug)]
pub struct GlobalBias<'a> {
    /// The values by distance in blocks.
    pub bias: RelativeBias<'a>,
    /// `[batch, queries]`: the block of each query.
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
        let parts_of_head = queries.div_ceil(QUERIES_OF_PART);
        let multiplications = 2 * self.batch * queries * source * hidden;
        share(pool, self.batch * heads * parts_of_head, 1, multiplications, |parts| {
            for part in parts {
                let (row, part) = (part / parts_of_head, part % parts_of_head);
                let (document, head) = (row / heads, row % heads);
                let first = part * QUERIES_OF_PART;
                let positions = first..(first + QUERIES_OF_PART).min(queries);
                let first = (document * queries + positions.start) * hidden + head * size;
                // SAFETY: these columns of these rows are this part's alone.
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

    /// Some queries of a head.
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
                Some(_) => KeyMask::or_nothing(mask),
                None => KeyMask::new(mask),
            },
            pattern: self.pattern,
            bias: self.bias.map(|bias| bias.of_head(head)),
            globals: self.globals.filter(|globals| globals.count > 0).map(|globals| {
                let count = globals.count;
                HeadGlobals {
                    keys: columns(globals.keys, count),
                    values: columns(globals.values, count),
                    mask: KeyMask::or_nothing(&globals.mask[document * count..][..count]),
                    count,
                    bias: globals.bias.map(|bias| {
                        (bias.bias.of_head(head), &bias.blocks[document * queries..][..queries])
                    }),
                }
            }),
            scale: self.scale,
            softcap: self.softcap,
        }
    }
}

thread_local! {
    /// Scratch memory that each thread keeps.
    static FLOATS: RefCell<AttentionScratch<FloatKv>> = RefCell::default();
    /// The same, for what is rounded.
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
    /// Biases by distance.
    bias: Vec<f32>,
    /// Those of global keys.
    global_bias: Vec<f32>,
    /// What is added to the scores of a first range.
    added: Vec<f32>,
    /// The segments of a pass.
    parts: Vec<Part>,
    /// For each of these, what each query sees.
    rows: Vec<SegmentRow>,
    scratch: Scratch,
}

/// A segment of a pass.
struct Part {
    keys: Range<usize>,
    kind: PartKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PartKind {
    Tokens,
    /// Tokens that count more than once.
    Repeated,
    Globals,
}

/// Attends with all queries; `put` gets the number of each, from 0 on, and its result.
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
        added,
        parts,
        rows,
        scratch,
    } = scratch;
    // What all queries see, packed from a whole block of keys on.
    let seen = pattern.seen_by(&positions, source);
    let first = seen.start / LANES * LANES;
    let end = seen.end.min(head.mask.length).max(first);
    let from_first = [head.keys, head.values].map(|rows| &rows[first * kv_stride..]);
    tokens.pack(from_first, head.mask.part(first..end), [kv_stride, size]);
    if let Some(of_head) = head.bias {
        // The distance of the first key from the last query, and all that are larger.
        let farthest = first as isize - (positions.end - 1) as isize;
        of_head.lay_out(farthest, end - first + positions.len(), bias);
    }
    if let Some(of_head) = &head.globals {
        globals.pack([of_head.keys, of_head.values], of_head.mask, [kv_stride, size]);
        if let Some((by_distance, _)) = of_head.bias {
            let count = of_head.count;
            by_distance.lay_out(-(count as isize), 2 * count + 2, global_bias);
        }
    }
    let mut start = positions.start;
    while start < positions.end {
        let queries = start..(start + QUERIES).min(pattern.group_end(start)).min(positions.end);
        parts.clear();
        rows.clear();
        if let Some(score) = pattern.added_to_first(start, source) {
            added.clear();
            added.resize(KEYS, score);
        }
        let (of_first, of_last) =
            (pattern.seen(queries.start, source), pattern.seen(queries.end - 1, source));
        for range in 0..RANGES {
            let keys = of_first[range].start / LANES * LANES..of_last[range].end.min(end);
            let repeated = range == 0 && pattern.added_to_first(start, source).is_some();
            let kind = if repeated { PartKind::Repeated } else { PartKind::Tokens };
            for keys in cut(keys) {
                rows.extend(queries.clone().map(|query| {
                    let seen = &pattern.seen(query, source)[range];
                    let within =
                        |position: usize| position.clamp(keys.start, keys.end) - keys.start;
                    SegmentRow {
                        seen: within(seen.start)..within(seen.end),
                        bias: match kind {
                            PartKind::Repeated => 0,
                            _ => keys.start - first + (positions.end - 1 - query),
                        },
                    }
                }));
                parts.push(Part { keys, kind });
            }
        }
        if let Some(of_head) = &head.globals {
            for keys in cut(0..of_head.mask.length) {
                rows.extend(queries.clone().map(|query| {
                    let bias = of_head.bias.map_or(0, |(_, blocks)| {
                        let count = of_head.count as isize;
                        let block = (blocks[query] as isize).clamp(-1, count);
                        (keys.start as isize + count - block) as usize
                    });
                    SegmentRow { seen: 0..keys.len(), bias }
                }));
                parts.push(Part { keys, kind: PartKind::Globals });
            }
        }
        let rows_of_parts = rows.chunks_exact(queries.len());
        let segments: Vec<_> = parts
            .iter()
            .zip(rows_of_parts)
            .map(|(Part { keys, kind }, rows)| match (kind, &head.globals) {
                (PartKind::Globals, Some(of_head)) => {
                    let bias = of_head.bias.map(|_| &global_bias[..]);
                    let mask = of_head.mask.part(keys.clone());
                    globals.segment(keys.start, View { mask, rows, bias })
                }
                _ => {
                    let bias = match kind {
                        PartKind::Repeated => Some(&added[..]),
                        _ => head.bias.map(|_| &bias[..]),
                    };
                    let mask = head.mask.part(keys.clone());
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

/// Cuts keys, the first of which is a multiple of [`LANES`], into as few segments of [`KEYS`] at
/// most as there can be, as even as blocks allow.
fn cut(keys: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let count = keys.len().div_ceil(KEYS);
    let step = keys.len().div_ceil(count.max(1)).next_multiple_of(LANES).max(LANES);
    keys.clone().step_by(step).map(move |first| first..(first + step).min(keys.end))
}

#[cfg(test)]
mod tests;
