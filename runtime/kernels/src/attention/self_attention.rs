//! An encoder's attention: each document over itself.

use std::cell::RefCell;

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::kernel::{
    Head, KeyMask, Scratch, SelfAttentionHead, StoredKv, pack_keys, pack_values, padded_head_size,
};
use super::padded_positions;
use crate::parallel::{Columns, Disjoint, ThreadPool, share};

/// Queries that share a pass over the keys: whole tiles, whose scores stay in the second-level
/// cache.
const QUERIES: usize = 48;

/// The self-attention of a batch of documents.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention<'a> {
    /// `[batch * source, heads * size]`
    pub queries: &'a [f32],
    /// `[batch * source, heads * size]`
    pub keys: &'a [f32],
    /// `[batch * source, heads * size]`
    pub values: &'a [f32],
    /// `[batch, source]`: 0 for padding.
    pub mask: &'a [i32],
    /// Documents.
    pub batch: usize,
    /// Positions of a document, padding included.
    pub source: usize,
    /// Heads.
    pub heads: usize,
    /// Size of a head.
    pub size: usize,
    /// Added to the scores.
    pub bias: Option<ScoreBias<'a>>,
    /// What scores are multiplied with.
    pub scale: f32,
    /// Whether a processor with AMX may split factors into two bfloat16 each, whose products are
    /// within 2^-16; otherwise everything is float32.
    pub split: bool,
}

/// What is added to scores: `[1 or batch, 1 or heads, source, source]`.
#[derive(Clone, Copy, Debug)]
pub struct ScoreBias<'a> {
    values: &'a [f32],
    /// Values from one document and head to the next; 0 where they share.
    strides: [usize; 2],
}

impl<'a> ScoreBias<'a> {
    /// A bias of these dimensions for a batch of these; none where they do not fit.
    pub fn new(
        dims: &[usize],
        values: &'a [f32],
        [batch, heads, source]: [usize; 3],
    ) -> Option<Self> {
        let &[bias_batch, bias_heads, rows, columns] = dims else {
            return None;
        };
        let fits = [rows, columns] == [source; 2]
            && [1, batch].contains(&bias_batch)
            && [1, heads].contains(&bias_heads)
            && values.len() == dims.iter().product::<usize>();
        let plane = source * source;
        let stride = |count, size| if count == 1 { 0 } else { size };
        fits.then(|| Self {
            values,
            strides: [stride(bias_batch, bias_heads * plane), stride(bias_heads, plane)],
        })
    }

    /// The bias of a document and head.
    fn of_head(self, document_and_head: [usize; 2]) -> &'a [f32] {
        let offsets = document_and_head.iter().zip(self.strides);
        &self.values[offsets.map(|(index, stride)| index * stride).sum()..]
    }
}

impl SelfAttention<'_> {
    /// Writes the result to `attended`, `[batch * source, heads * size]`.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the sizes say.
    pub fn attend<P: ThreadPool>(&self, pool: &P, attended: &mut [f32]) -> Result<(), P::Error> {
        let (heads, size, source) = (self.heads, self.size, self.source);
        let hidden = heads * size;
        if attended.is_empty() {
            return Ok(());
        }
        let attended = Disjoint::new(attended);
        let multiplications = 2 * self.batch * source * source * hidden;
        share(pool, self.batch * heads, 1, multiplications, |parts| {
            for part in parts {
                let (document, head) = (part / heads, part % heads);
                let first = document * source * hidden + head * size;
                let range = first..(document + 1) * source * hidden;
                let head = SelfAttentionHead {
                    queries: &self.queries[range.clone()],
                    keys: &self.keys[range.clone()],
                    values: &self.values[range],
                    stride: hidden,
                    size,
                    rows: source,
                    mask: KeyMask::new(&self.mask[document * source..][..source]),
                    bias: self.bias.map(|bias| bias.of_head([document, head])),
                    scale: self.scale,
                };
                // SAFETY: these columns of the document's rows are this part's alone.
                let mut to = unsafe { Columns::new(&attended, first, size, hidden) };
                let put = |row: usize, result: &[f32]| to.row(row).copy_from_slice(&result[..size]);
                #[cfg(target_arch = "x86_64")]
                if self.split && amx::is_available() {
                    amx::attend(&head, put);
                    continue;
                }
                attend(&head, put);
            }
        })
    }
}

/// Scratch memory that each thread keeps.
#[derive(Default)]
struct PackedScratch {
    scratch: Scratch,
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// Attends with all of a head's queries; `put` gets the number of each and its result.
fn attend(head: &SelfAttentionHead<'_>, mut put: impl FnMut(usize, &[f32])) {
    thread_local! {
        static SCRATCH: RefCell<PackedScratch> = RefCell::default();
    }
    let &SelfAttentionHead { stride, size, rows, .. } = head;
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.keys.resize(padded_positions(rows) * size, 0.0);
        scratch.values.resize(rows * padded_head_size(size), 0.0);
        pack_keys(head.keys, stride, size, &mut scratch.keys);
        pack_values(head.values, stride, size, &mut scratch.values);
        for first in (0..rows).step_by(QUERIES) {
            let count = QUERIES.min(rows - first);
            let queries = Head {
                queries: &head.queries[first * stride..],
                rows: count,
                stride,
                size,
                keys: &scratch.keys,
                values: &scratch.values,
                prefetch: false,
                mask: head.mask,
                bias: head.bias.map(|bias| &bias[first * rows..]),
                bias_stride: rows,
                scale: head.scale,
            };
            f32::attend(&queries, &mut scratch.scratch);
            let results = scratch.scratch.attended.chunks(padded_head_size(size));
            for (row, result) in results.take(count).enumerate() {
                put(first + row, result);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::kernel::tests::{Example, numbers};
    use super::*;

    /// Columns of other heads beside the head under test.
    const OTHERS: usize = 5;

    type Attend = fn(&SelfAttentionHead<'_>, &mut dyn FnMut(usize, &[f32]));

    /// The implementations that this processor has, with their tolerances.
    fn implementations() -> Vec<(Attend, f64)> {
        let plain: (Attend, f64) = (|head, put| attend(head, put), 1e-4);
        #[cfg(target_arch = "x86_64")]
        if amx::is_available() {
            return vec![plain, (|head, put| amx::attend(head, put), 1e-3)];
        }
        vec![plain]
    }

    proptest! {
        #[test]
        fn agrees_with_double_precision_and_row_by_row(
            size in 1_usize..80,
            mask in prop::collection::vec(0..3, 1..170),
            with_bias: bool,
            seed: u32,
        ) {
            let (rows, stride) = (mask.len(), size + OTHERS);
            let example = Example {
                queries: numbers(rows * size, seed),
                keys: numbers(rows * size, seed ^ 1),
                values: numbers(rows * size, seed ^ 2),
                bias: match with_bias {
                    true => numbers(rows * rows, seed ^ 3),
                    false => vec![0.0; rows * rows],
                },
                mask,
            };
            let among_others = |columns: &[f32]| -> Vec<f32> {
                let rows = columns.chunks(size);
                rows.flat_map(|row| row.iter().copied().chain([f32::NAN; OTHERS])).collect()
            };
            let matrices = [&example.queries, &example.keys, &example.values];
            let [queries, keys, values] = matrices.map(|columns| among_others(columns));
            let head = SelfAttentionHead {
                queries: &queries,
                keys: &keys,
                values: &values,
                stride,
                size,
                rows,
                mask: KeyMask::new(&example.mask),
                bias: with_bias.then_some(&example.bias),
                scale: 0.5,
            };
            let hidden = example.mask.iter().all(|&visible| visible == 0);
            for (attend, tolerance) in implementations() {
                let mut results = Vec::new();
                attend(&head, &mut |row, result| {
                    assert_eq!(row, results.len());
                    results.push(result[..size].to_vec());
                });
                prop_assert_eq!(results.len(), rows);
                for (row, result) in results.iter().enumerate() {
                    prop_assert!(result.iter().all(|value| value.is_finite()));
                    if hidden {
                        continue;
                    }
                    for (value, exact) in result.iter().zip(example.exact(row, size)) {
                        let error = (f64::from(*value) - exact).abs();
                        prop_assert!(error < tolerance, "{value} and not {exact}");
                    }
                }
                // The same with padding behind.
                if !hidden && !with_bias {
                    let mask: Vec<i32> = example.mask.iter().copied().chain([0; 40]).collect();
                    let padded = [&queries, &keys, &values].map(|matrix| {
                        [matrix.as_slice(), &vec![7.0; 40 * stride]].concat()
                    });
                    let [queries, keys, values] = &padded;
                    let rows = mask.len();
                    let mask = KeyMask::new(&mask);
                    let padded = SelfAttentionHead { queries, keys, values, rows, mask, ..head };
                    attend(&padded, &mut |row, result| {
                        if let Some(expected) = results.get(row) {
                            assert_eq!(&result[..size], expected);
                        }
                    });
                }
            }
        }
    }
}
