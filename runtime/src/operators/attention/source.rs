//! The encoder's attention: each document over itself.

use std::cell::RefCell;

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::kernel::{Head, Memory, Scratch, Visible, pack_keys, pack_values, value_row};
use super::{FLOAT, MASK, heads, mismatch, padded, scale};
use crate::operators::parallel::{Columns, Disjoint, share};
use crate::operators::{input, optional_input};

/// Name of [`SelfAttention`] in a graph.
pub const SELF_ATTENTION: &str = "SelfAttention";
/// Attribute of [`SelfAttention`], integer: 1 where factors may be split into two bfloat16 each, whose products are within
/// 2^-16, on a processor that multiplies those in tiles; otherwise everything is float32.
pub const SPLIT: &str = "split";

/// Queries that share a pass over the keys: whole tiles, whose scores stay in the second-level cache.
const QUERIES: usize = 48;

/// The operator: float32 queries, keys and values of `[batch * source, heads * size]`, an int32 mask
/// `[batch, source]` and, if there is one, a float32 bias `[1 or batch, 1 or heads, source, source]` added to the
/// scores, to float32 `[batch * source, heads * size]`.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention;

impl Operator for SelfAttention {
    type Kernel<'attr> = SelfAttentionKernel;

    fn name(&self) -> &str {
        SELF_ATTENTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let bias = OperatorInput::optional(TensorElementType::Float32);
        [FLOAT, FLOAT, FLOAT, MASK, bias]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<SelfAttentionKernel> {
        Ok(SelfAttentionKernel {
            heads: heads(context)?,
            scale: scale(context)?,
            split: context.get::<i64>(SPLIT) == Some(1),
        })
    }
}

/// What is added to scores: `[1 or batch, 1 or heads, source, source]`.
#[derive(Clone, Copy)]
struct Bias<'a> {
    values: &'a [f32],
    /// Numbers from one document and head to the next; 0 where they share.
    strides: [usize; 2],
}

impl<'a> Bias<'a> {
    fn of(
        dims: &[usize],
        values: &'a [f32],
        [batch, heads, source]: [usize; 3],
    ) -> ort::Result<Self> {
        let scores = [batch, heads, source, source];
        let &[documents, of_heads, rows, columns] = dims else {
            return Err(mismatch("bias and scores", &[dims, &scores]));
        };
        let fits = [rows, columns] == [source; 2]
            && [1, batch].contains(&documents)
            && [1, heads].contains(&of_heads);
        if !fits {
            return Err(mismatch("bias and scores", &[dims, &scores]));
        }
        let plane = source * source;
        let stride = |count, size| if count == 1 { 0 } else { size };
        Ok(Self {
            values,
            strides: [stride(documents, of_heads * plane), stride(of_heads, plane)],
        })
    }

    /// What belongs to this document and head.
    fn of_head(self, place: [usize; 2]) -> &'a [f32] {
        let offsets = place.iter().zip(self.strides);
        &self.values[offsets.map(|(at, stride)| at * stride).sum()..]
    }
}

/// One head of a document.
pub(super) struct Source<'a> {
    /// Queries, keys and values: one row every `stride`, of which the first `size` columns are the head's.
    pub(super) queries: &'a [f32],
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
    /// Size of the head.
    pub(super) size: usize,
    /// How many queries, keys and values.
    pub(super) rows: usize,
    pub(super) visible: Visible<'a>,
    /// Added to the scores: `[rows, rows]`.
    pub(super) bias: Option<&'a [f32]>,
    /// What scores are multiplied with.
    pub(super) scale: f32,
}

/// The self-attention of an encoder's layer.
pub struct SelfAttentionKernel {
    heads: usize,
    scale: f32,
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "no other processor does")
    )]
    split: bool,
}

impl Kernel for SelfAttentionKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, queries) = input::<f32>(context, 0)?;
        let (key_dims, keys) = input::<f32>(context, 1)?;
        let (value_dims, values) = input::<f32>(context, 2)?;
        let (mask_dims, mask) = input::<i32>(context, 3)?;
        let bias = optional_input::<f32>(context, 4)?;
        let heads = self.heads;
        let wrong = || {
            let shapes = [&shape[..], &key_dims, &value_dims, &mask_dims];
            mismatch("queries, keys, values and mask", &shapes)
        };
        let (&[rows, hidden], &[batch, source]) = (shape.as_slice(), mask_dims.as_slice()) else {
            return Err(wrong());
        };
        let size = hidden / heads;
        if hidden != heads * size
            || rows != batch * source
            || key_dims != shape
            || value_dims != shape
        {
            return Err(wrong());
        }
        let bias = bias
            .map(|(dims, bias)| Bias::of(&dims, bias, [batch, heads, source]))
            .transpose()?;
        let mut output = context
            .output(0, [rows as i64, hidden as i64])?
            .ok_or_else(|| ort::Error::new("there is no output"))?;
        let (_, attended) = output.try_extract_tensor_mut::<f32>()?;
        if attended.is_empty() {
            return Ok(());
        }
        let attended = Disjoint::new(attended);
        let work = 2 * rows * source * hidden;
        share(context, batch * heads, 1, work, |parts| {
            for part in parts {
                let (document, head) = (part / heads, part % heads);
                let first = document * source * hidden + head * size;
                let of_head = first..(document + 1) * source * hidden;
                let source = Source {
                    queries: &queries[of_head.clone()],
                    keys: &keys[of_head.clone()],
                    values: &values[of_head],
                    stride: hidden,
                    size,
                    rows: source,
                    visible: Visible::of(&mask[document * source..][..source]),
                    bias: bias.map(|bias| bias.of_head([document, head])),
                    scale: self.scale,
                };
                // SAFETY: these columns of the document's rows are this part's alone.
                let mut to = unsafe { Columns::new(&attended, first, size, hidden) };
                let put = |row: usize, result: &[f32]| to.row(row).copy_from_slice(&result[..size]);
                #[cfg(target_arch = "x86_64")]
                if self.split && amx::available() {
                    amx::attend(&source, put);
                    continue;
                }
                attend_all(&source, put);
            }
        })
    }
}

/// Room that each thread keeps.
#[derive(Default)]
struct Room {
    scratch: Scratch,
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// Attends with all of a head's queries; `put` gets the number of each and its result.
pub(super) fn attend_all(source: &Source<'_>, mut put: impl FnMut(usize, &[f32])) {
    thread_local! {
        static ROOM: RefCell<Room> = RefCell::default();
    }
    let &Source {
        stride, size, rows, ..
    } = source;
    ROOM.with_borrow_mut(|room| {
        room.keys.resize(padded(rows) * size, 0.0);
        room.values.resize(rows * value_row(size), 0.0);
        pack_keys(source.keys, stride, size, &mut room.keys);
        pack_values(source.values, stride, size, &mut room.values);
        for first in (0..rows).step_by(QUERIES) {
            let count = QUERIES.min(rows - first);
            let head = Head {
                queries: &source.queries[first * stride..],
                rows: count,
                stride,
                size,
                keys: &room.keys,
                values: &room.values,
                far: false,
                visible: source.visible,
                bias: source.bias.map(|bias| &bias[first * rows..]),
                bias_stride: rows,
                scale: source.scale,
            };
            f32::attend(&head, &mut room.scratch);
            let results = room.scratch.attended.chunks(value_row(size));
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

    /// Columns of other heads beside the one that is looked at.
    const OTHERS: usize = 5;

    type Attend = fn(&Source<'_>, &mut dyn FnMut(usize, &[f32]));

    /// The ways that this processor has, with what they may be off by.
    fn ways() -> Vec<(Attend, f64)> {
        let plain: (Attend, f64) = (|source, put| attend_all(source, put), 1e-4);
        #[cfg(target_arch = "x86_64")]
        if amx::available() {
            return vec![plain, (|source, put| amx::attend(source, put), 1e-3)];
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
            let among_others = |of_head: &[f32]| -> Vec<f32> {
                let rows = of_head.chunks(size);
                rows.flat_map(|row| row.iter().copied().chain([f32::NAN; OTHERS])).collect()
            };
            let matrices = [&example.queries, &example.keys, &example.values];
            let [queries, keys, values] = matrices.map(|of_head| among_others(of_head));
            let source = Source {
                queries: &queries,
                keys: &keys,
                values: &values,
                stride,
                size,
                rows,
                visible: Visible::of(&example.mask),
                bias: with_bias.then_some(&example.bias),
                scale: 0.5,
            };
            let hidden = example.mask.iter().all(|&visible| visible == 0);
            for (attend, tolerance) in ways() {
                let mut results = Vec::new();
                attend(&source, &mut |row, result| {
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
                    let visible = Visible::of(&mask);
                    let rows = mask.len();
                    let padded = Source { queries, keys, values, rows, visible, ..source };
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
