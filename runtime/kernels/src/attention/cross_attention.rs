//! A decoder's attention over the source. The keys and values of a document are packed once.

use super::element::{pack_keys, pack_values};
use super::kernel::{Head, KeyMask, Segment, Softmax, StoredKv, View};
use super::padding::{padded_head_size, padded_positions};
use super::{SCRATCH, kv_head};
use crate::cpu::features;
use crate::parallel::{Disjoint, ThreadPool, parallel_for};

/// Keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrValue {
    /// Keys of each head: their scales, then `[positions / 16, size, 16]`.
    Key,
    /// Values of each head: their scales, then `[positions, padded head size]`.
    Value,
}

impl KeyOrValue {
    /// Elements of one position of a head of this size, scale included.
    pub const fn row<E: StoredKv>(self, size: usize) -> usize {
        let numbers = match self {
            Self::Key => size,
            Self::Value => padded_head_size(size),
        };
        numbers + E::SCALE
    }

    /// [`row`](Self::row) of keys and of values.
    pub const fn rows<E: StoredKv>(size: usize) -> [usize; 2] {
        [Self::Key.row::<E>(size), Self::Value.row::<E>(size)]
    }
}

/// Packs keys or values, `[batch * source, heads * size]`, to `[batch, heads, padded source, row]`.
///
/// # Panics
///
/// When `rows` is shorter than the sizes say.
pub fn pack<E: StoredKv, P: ThreadPool>(
    pool: &P,
    rows: &[f32],
    [batch, source, heads, size]: [usize; 4],
    part: KeyOrValue,
    packed: &mut [E],
) -> Result<(), P::Error> {
    if packed.is_empty() {
        return Ok(());
    }
    let hidden = heads * size;
    let head_len = padded_positions(source) * part.row::<E>(size);
    let work = packed.len();
    let packed = Disjoint::new(packed);
    let pack_head = match part {
        KeyOrValue::Key => pack_keys,
        KeyOrValue::Value => pack_values,
    };
    parallel_for(pool, batch * heads, 1, work, |range| {
        for index in range {
            let (document, head) = (index / heads, index % heads);
            let rows = &rows[document * source * hidden..(document + 1) * source * hidden];
            // SAFETY: only this task writes the head's keys or values.
            let packed = unsafe { packed.part(index * head_len..(index + 1) * head_len) };
            pack_head(&rows[head * size..], hidden, size, packed);
        }
    })
}

/// The cross-attention of some documents. The rows of a document are its beams or its newest
/// tokens.
#[derive(Clone, Copy, Debug)]
pub struct CrossAttention<'a, E> {
    /// Queries: `[rows of all documents, heads * size]`.
    pub queries: &'a [f32],
    /// Keys of all documents. Those of a document are `[kv_heads, padded source, row]`, as [`pack`]
    /// makes them, and begin at its first slot. A slot holds one position of all heads.
    pub keys: &'a [E],
    /// Values of all documents, in the layout of `keys`.
    pub values: &'a [E],
    /// The documents, in the order of their rows.
    pub sources: &'a [Source],
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of the keys and values. `heads / kv_heads` heads of queries share one.
    pub kv_heads: usize,
    /// Size of a head.
    pub size: usize,
    /// Scale of the scores, usually `1 / sqrt(size)`.
    pub scale: f32,
    /// Soft cap: scores become `softcap * tanh(score / softcap)`.
    pub softcap: Option<f32>,
}

/// A document that rows attend to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// First row of the document.
    pub first_row: usize,
    /// Number of rows of the document.
    pub rows: usize,
    /// First slot of the document's keys and values.
    pub first_slot: usize,
    /// Number of tokens of the document.
    pub length: usize,
}

impl<E: StoredKv> CrossAttention<'_, E> {
    /// Writes the result to `attended`, `[rows of all documents, heads * size]`. For each query,
    /// `sums` gets the largest score and the sum of `exp(score - largest)`:
    /// `[rows of all documents, heads, 2]`.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the sizes say.
    pub fn attend<P: ThreadPool>(
        &self,
        pool: &P,
        attended: &mut [f32],
        sums: Option<&mut [f32]>,
    ) -> Result<(), P::Error> {
        let &Self { sources, heads, kv_heads, size, .. } = self;
        if attended.is_empty() {
            return Ok(());
        }
        let hidden = heads * size;
        let attended = Disjoint::new(attended);
        let sums = sums.map(Disjoint::new);
        let multiplications: usize =
            sources.iter().map(|source| 2 * source.rows * source.length * hidden).sum();
        let prefetch = !features().prefetches_across_pages;
        parallel_for(pool, sources.len() * heads, 1, multiplications, |range| {
            SCRATCH.with_borrow_mut(|scratch| {
                for index in range {
                    let (source, number) = (&sources[index / heads], index % heads);
                    let kv = kv_head(number, heads, kv_heads);
                    let positions = padded_positions(source.length);
                    let head_range = |part: KeyOrValue| {
                        let row = part.row::<E>(size);
                        let start = (source.first_slot * kv_heads + kv * positions) * row;
                        start..start + positions * row
                    };
                    let column = number * size;
                    let segment = Segment {
                        keys: &self.keys[head_range(KeyOrValue::Key)],
                        values: &self.values[head_range(KeyOrValue::Value)],
                        scales: [&[]; 2],
                        view: View { mask: KeyMask::all(source.length), rows: &[], bias: None },
                    };
                    let head = Head {
                        queries: &self.queries[source.first_row * hidden + column..],
                        rows: source.rows,
                        stride: hidden,
                        size,
                        segments: &[segment],
                        prefetch,
                        scale: self.scale,
                        softcap: self.softcap,
                    };
                    E::attend(&head, scratch);
                    let results = scratch.attended.chunks(padded_head_size(size));
                    for (row, result) in results.take(source.rows).enumerate() {
                        let start = (source.first_row + row) * hidden + column;
                        // SAFETY: only this task writes these columns of the document's rows.
                        let to = unsafe { attended.part(start..start + size) };
                        to.copy_from_slice(&result[..size]);
                        if let Some(sums) = &sums {
                            let start = ((source.first_row + row) * heads + number) * 2;
                            let Softmax { max, sum } = scratch.softmax[row];
                            // SAFETY: only this task writes the sums of the row's head.
                            unsafe { sums.part(start..start + 2) }.copy_from_slice(&[max, sum]);
                        }
                    }
                }
            });
        })
    }
}
