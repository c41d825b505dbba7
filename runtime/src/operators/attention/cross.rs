//! The decoder's attention over the source, whose keys and values are there once a document.

use std::marker::PhantomData;

use half::f16;
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{PrimitiveTensorElementType, TensorElementType};

use super::kernel::{Head, Memory, Visible, pack_keys, pack_values, value_row};
use super::{FLOAT, MASK, SCRATCH, heads, mismatch, padded, scale};
use crate::operators::input;
use crate::operators::parallel::{Disjoint, share};
use crate::simd::ahead::crosses_pages;

/// Name of the operator that lays out keys or values in float32, in a graph.
pub const CROSS_MEMORY: &str = "CrossMemory";
/// The same of float16.
pub const CROSS_MEMORY_FP16: &str = "CrossMemoryFp16";
/// Name of the attention over what [`CROSS_MEMORY`] makes, in a graph.
pub const CROSS_ATTENTION: &str = "CrossAttention";
/// The same over what [`CROSS_MEMORY_FP16`] makes.
pub const CROSS_ATTENTION_FP16: &str = "CrossAttentionFp16";
/// Attribute of [`CROSS_MEMORY`], string: [`KEYS`] or [`VALUES`].
pub const PART: &str = "part";
/// The keys.
pub const KEYS: &str = "keys";
/// The values.
pub const VALUES: &str = "values";

/// How an operator here stores keys and values.
pub(super) trait Kept: Memory + PrimitiveTensorElementType {
    const MEMORY: &'static str;
    const ATTENTION: &'static str;
}

impl Kept for f32 {
    const MEMORY: &'static str = CROSS_MEMORY;
    const ATTENTION: &'static str = CROSS_ATTENTION;
}

impl Kept for f16 {
    const MEMORY: &'static str = CROSS_MEMORY_FP16;
    const ATTENTION: &'static str = CROSS_ATTENTION_FP16;
}

/// Row of the values in what [`CROSS_MEMORY`] makes, for heads of this size.
pub const fn memory_value_row(size: usize) -> usize {
    value_row(size)
}

/// The operator: float32 rows `[batch * source, heads * size]` and int64 `[2]`, which is
/// `[batch, source]`, to float32 or float16 `[batch, heads, padded source, row]`. The source is padded to a multiple
/// of 16. Values have rows of `size`, padded likewise; keys have rows of `size`, sixteen of which
/// are transposed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CrossMemory<E>(PhantomData<E>);

impl<E: Kept> Operator for CrossMemory<E> {
    type Kernel<'attr> = CrossMemoryKernel<E>;

    fn name(&self) -> &str {
        E::MEMORY
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [FLOAT, OperatorInput::required(TensorElementType::Int64)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(E::into_tensor_element_type())]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<CrossMemoryKernel<E>> {
        let keys = match context.get::<String>(PART).as_deref() {
            Some(KEYS) => true,
            Some(VALUES) => false,
            _ => return Err(ort::Error::new(format!("attribute '{PART}' is wrong"))),
        };
        Ok(CrossMemoryKernel {
            heads: heads(context)?,
            keys,
            kept: PhantomData,
        })
    }
}

/// Keys or values of a layer.
pub(crate) struct CrossMemoryKernel<E> {
    heads: usize,
    keys: bool,
    kept: PhantomData<E>,
}

impl<E: Kept> Kernel for CrossMemoryKernel<E> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, rows) = input::<f32>(context, 0)?;
        let (_, source_shape) = input::<i64>(context, 1)?;
        let source_shape: Vec<_> = source_shape.iter().map(|&dim| dim as usize).collect();
        let wrong = || mismatch("rows and source", &[&shape, &source_shape]);
        let (&[count, hidden], &[batch, source]) = (&shape[..], &source_shape[..]) else {
            return Err(wrong());
        };
        if batch.checked_mul(source) != Some(count)
            || !hidden.is_multiple_of(self.heads)
            || hidden == 0
        {
            return Err(wrong());
        }
        let size = hidden / self.heads;
        let row = if self.keys { size } else { value_row(size) };
        let dims = [batch, self.heads, padded(source), row];
        let mut output = context
            .output(0, dims.map(|dim| dim as i64))?
            .ok_or_else(|| ort::Error::new("there is no output"))?;
        let (_, packed) = output.try_extract_tensor_mut::<E>()?;
        if packed.is_empty() {
            return Ok(());
        }
        let pack = if self.keys { pack_keys } else { pack_values };
        let of_head = padded(source) * row;
        let work = packed.len();
        let packed = Disjoint::new(packed);
        share(context, batch * self.heads, 1, work, |parts| {
            for part in parts {
                let (document, head) = (part / self.heads, part % self.heads);
                let rows = &rows[document * source * hidden..(document + 1) * source * hidden];
                // SAFETY: a head's keys or values are this part's alone.
                let packed = unsafe { packed.part(part * of_head..(part + 1) * of_head) };
                pack(&rows[head * size..], hidden, size, packed);
            }
        })
    }
}

/// The operator: float32 queries `[batch * beams, heads * size]`, keys and values of [`CrossMemory`] and
/// an int32 mask `[batch, source]` to float32 `[batch * beams, heads * size]`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CrossAttention<E>(PhantomData<E>);

impl<E: Kept> Operator for CrossAttention<E> {
    type Kernel<'attr> = CrossAttentionKernel<E>;

    fn name(&self) -> &str {
        E::ATTENTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let kept = || OperatorInput::required(E::into_tensor_element_type());
        [FLOAT, kept(), kept(), MASK]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<CrossAttentionKernel<E>> {
        Ok(CrossAttentionKernel {
            heads: heads(context)?,
            scale: scale(context)?,
            kept: PhantomData,
        })
    }
}

/// The cross-attention of a layer.
pub(crate) struct CrossAttentionKernel<E> {
    heads: usize,
    scale: f32,
    kept: PhantomData<E>,
}

impl<E: Kept> Kernel for CrossAttentionKernel<E> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, queries) = input::<f32>(context, 0)?;
        let (key_dims, keys) = input::<E>(context, 1)?;
        let (value_dims, values) = input::<E>(context, 2)?;
        let (mask_dims, mask) = input::<i32>(context, 3)?;
        let heads = self.heads;
        let wrong = || {
            let shapes = [&shape[..], &key_dims, &value_dims, &mask_dims];
            mismatch("queries, keys, values and mask", &shapes)
        };
        let (&[rows, hidden], &[batch, source]) = (shape.as_slice(), mask_dims.as_slice()) else {
            return Err(wrong());
        };
        let size = hidden / heads;
        // A batch is as long as its longest memory, which was padded before.
        let positions = padded(source);
        if hidden != heads * size
            || batch == 0
            || !rows.is_multiple_of(batch)
            || key_dims != [batch, heads, positions, size]
            || value_dims != [batch, heads, positions, value_row(size)]
        {
            return Err(wrong());
        }
        let beams = rows / batch;
        let mut output = context
            .output(0, [rows as i64, hidden as i64])?
            .ok_or_else(|| ort::Error::new("there is no output"))?;
        let (_, attended) = output.try_extract_tensor_mut::<f32>()?;
        if attended.is_empty() || source == 0 {
            attended.fill(0.0);
            return Ok(());
        }
        let attended = Disjoint::new(attended);
        let (of_keys, of_values) = (positions * size, positions * value_row(size));
        let work = 2 * rows * source * hidden;
        let far = !crosses_pages();
        share(context, batch * heads, 1, work, |parts| {
            SCRATCH.with_borrow_mut(|scratch| {
                for part in parts {
                    let (document, head) = (part / heads, part % heads);
                    let first = document * beams;
                    let head = Head {
                        queries: &queries[first * hidden + head * size..],
                        rows: beams,
                        stride: hidden,
                        size,
                        keys: &keys[part * of_keys..][..of_keys],
                        values: &values[part * of_values..][..of_values],
                        far,
                        visible: Visible::of(&mask[document * source..][..source]),
                        bias: None,
                        bias_stride: 0,
                        scale: self.scale,
                    };
                    E::attend(&head, scratch);
                    let column = part % heads * size;
                    let results = scratch.attended.chunks(value_row(size));
                    for (row, result) in results.take(beams).enumerate() {
                        let at = (first + row) * hidden + column;
                        // SAFETY: these columns of the document's rows are this part's alone.
                        let to = unsafe { attended.part(at..at + size) };
                        to.copy_from_slice(&result[..size]);
                    }
                }
            });
        })
    }
}
