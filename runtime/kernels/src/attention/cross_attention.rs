//! A decoder's attention over the source, whose keys and values are packed once a document.

use super::kernel::{Head, KeyMask, Segment, StoredKv, pack_keys, pack_values, padded_head_size};
use super::{SCRATCH, padded_positions};
use crate::cpu::features;
use crate::parallel::{Disjoint, ThreadPool, share};

/// Keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrValue {
    /// Keys: `[positions / 16, size, 16]` for each head.
    Key,
    /// Values: `[positions, padded head size]` for each head.
    Value,
}

impl KeyOrValue {
    /// Length of a packed row, for heads of this size.
    pub const fn row(self, size: usize) -> usize {
        match self {
            Self::Key => size,
            Self::Value => padded_head_size(size),
        }
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
    let head_size = padded_positions(source) * part.row(size);
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

/// The cross-attention of a batch of documents, each with some beams.
#[derive(Clone, Copy, Debug)]
pub struct CrossAttention<'a, E> {
    /// `[batch * beams, heads * size]`
    pub queries: &'a [f32],
    /// Keys of [`pack`].
    pub keys: &'a [E],
    /// Values of [`pack`].
    pub values: &'a [E],
    /// `[batch, source]`: 0 for padding.
    pub mask: &'a [i32],
    /// Documents.
    pub batch: usize,
    /// Beams of a document.
    pub beams: usize,
    /// Positions of a document, padding included.
    pub source: usize,
    /// Heads.
    pub heads: usize,
    /// Size of a head.
    pub size: usize,
    /// What scores are multiplied with.
    pub scale: f32,
}

impl<E: StoredKv> CrossAttention<'_, E> {
    /// Writes the result to `attended`, `[batch * beams, heads * size]`.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the sizes say.
    pub fn attend<P: ThreadPool>(&self, pool: &P, attended: &mut [f32]) -> Result<(), P::Error> {
        let &Self { batch, beams, source, heads, size, .. } = self;
        if attended.is_empty() || source == 0 {
            attended.fill(0.0);
            return Ok(());
        }
        let hidden = heads * size;
        let attended = Disjoint::new(attended);
        let positions = padded_positions(source);
        let (keys_size, values_size) = (positions * size, positions * padded_head_size(size));
        let multiplications = 2 * batch * beams * source * hidden;
        let prefetch = !features().prefetches_across_pages;
        share(pool, batch * heads, 1, multiplications, |parts| {
            SCRATCH.with_borrow_mut(|scratch| {
                for part in parts {
                    let (document, head) = (part / heads, part % heads);
                    let (first, column) = (document * beams, head * size);
                    let segment = Segment {
                        keys: &self.keys[part * keys_size..][..keys_size],
                        values: &self.values[part * values_size..][..values_size],
                        mask: KeyMask::new(&self.mask[document * source..][..source]),
                        rows: &[],
                        bias: None,
                    };
                    let head = Head {
                        queries: &self.queries[first * hidden + column..],
                        rows: beams,
                        stride: hidden,
                        size,
                        segments: &[segment],
                        prefetch,
                        scale: self.scale,
                    };
                    E::attend(&head, scratch);
                    let results = scratch.attended.chunks(padded_head_size(size));
                    for (row, result) in results.take(beams).enumerate() {
                        let start = (first + row) * hidden + column;
                        // SAFETY: these columns of the document's rows are this part's alone.
                        let to = unsafe { attended.part(start..start + size) };
                        to.copy_from_slice(&result[..size]);
                    }
                }
            });
        })
    }
}
