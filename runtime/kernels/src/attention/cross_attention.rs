//! A decoder's attention over the source, whose keys and values are packed once a document.

use super::element::{pack_keys, pack_values};
use super::kernel::{Head, KeyMask, Segment, Softmax, StoredKv, View};
use super::{SCRATCH, kv_head, padded_head_size, padded_positions};
use crate::cpu::features;
use crate::parallel::{Disjoint, ThreadPool, share};

/// Keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrValue {
    /// Keys: `[positions / 16, size, 16]` for each head, behind their scales.
    Key,
    /// Values: `[positions, padded head size]` for each head, behind their scales.
    Value,
}

impl KeyOrValue {
    /// Elements that a position of a head takes, for heads of this size.
    pub const fn row<E: StoredKv>(self, size: usize) -> usize {
        let numbers = match self {
            Self::Key => size,
            Self::Value => padded_head_size(size),
        };
        numbers + E::SCALE
    }

    /// The same for keys and for values.
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
    let head_size = padded_positions(source) * part.row::<E>(size);
    let work = packed.len();
    let packed = Disjoint::new(packed);
    let pack_head = match part {
        KeyOrValue::Key => pack_keys,
        KeyOrValue::Value => pack_values,
    };
    share(pool, batch * heads, 1, work, |parts| {
        for part in parts {
            let (document, head) = (part / heads, part % heads);
            let rows = &rows[document * source * hidden..(document + 1) * source * hidden];
            // SAFETY: a head's keys or values are this part's alone.
            let packed = unsafe { packed.part(part * head_size..(part + 1) * head_size) };
            pack_head(&rows[head * size..], hidden, size, packed);
        }
    })
}

/// The cross-attention of some documents, each with some rows: its beams, or its newest tokens.
#[derive(Clone, Copy, Debug)]
pub struct CrossAttention<'a, E> {
    /// `[rows of all documents, heads * size]`
    pub queries: &'a [f32],
    /// Keys of all documents: `[kv_heads, padded source, row]` of [`pack`] from the first place of
    /// each on, where a place is as much as one position of all heads takes.
    pub keys: &'a [E],
    /// Values of all documents, likewise.
    pub values: &'a [E],
    /// The documents, in the order of their rows.
    pub sources: &'a [Source],
    /// Heads.
    pub heads: usize,
    /// Heads of keys and values, each of which as many heads share.
    pub kv_heads: usize,
    /// Size of a head.
    pub size: usize,
    /// What scores are multiplied with.
    pub scale: f32,
    /// What scores approach and do not reach.
    pub softcap: Option<f32>,
}

/// A document that rows attend to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The first of its rows.
    pub first_row: usize,
    /// Its rows.
    pub rows: usize,
    /// Where its keys and values start.
    pub first_place: usize,
    /// Its tokens.
    pub length: usize,
}

impl<E: StoredKv> CrossAttention<'_, E> {
    /// Writes the result to `attended`, `[rows of all documents, heads * size]`. Where `sums` is
    /// given, `[rows of all documents, heads, 2]`, it gets the largest score of each query, and the
    /// sum of the exponentials of what scores are beyond it.
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
        share(pool, sources.len() * heads, 1, multiplications, |parts| {
            SCRATCH.with_borrow_mut(|scratch| {
                for part in parts {
                    let (source, number) = (&sources[part / heads], part % heads);
                    let kv = kv_head(number, heads, kv_heads);
                    let positions = padded_positions(source.length);
                    let of_head = |part: KeyOrValue| {
                        let row = part.row::<E>(size);
                        let start = (source.first_place * kv_heads + kv * positions) * row;
                        start..start + positions * row
                    };
                    let column = number * size;
                    let segment = Segment {
                        keys: &self.keys[of_head(KeyOrValue::Key)],
                        values: &self.values[of_head(KeyOrValue::Value)],
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
                        // SAFETY: these columns of the document's rows are this part's alone.
                        let to = unsafe { attended.part(start..start + size) };
                        to.copy_from_slice(&result[..size]);
                        if let Some(sums) = &sums {
                            let start = ((source.first_row + row) * heads + number) * 2;
                            let Softmax { max, sum } = scratch.softmax[row];
                            // SAFETY: as above.
                            unsafe { sums.part(start..start + 2) }.copy_from_slice(&[max, sum]);
                        }
                    }
                }
            });
        })
    }
}
