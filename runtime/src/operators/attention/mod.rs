//! Attention over a source: the encoder's own, and the decoder's over what the encoder left.
//!
//! Keys lie in blocks of sixteen positions, so that sixteen scores are summed side by side, and all
//! rows of a tile share what is read. A row's result does not depend on the rows beside it: a beam's
//! is the same bits alone, among others, and in a batch.
//!
//! - [`CrossMemory`]: keys or values of a decoder layer, laid out for its steps.
//! - [`CrossAttention`]: the beams of each document over its memory.
//! - [`SelfAttention`]: each document over itself.
//!
//! And the decoder's over what it generated so far, [`CacheAttention`].

#[cfg(target_arch = "x86_64")]
mod amx;
mod cache;
mod history;
mod kernel;
mod source;

use std::cell::RefCell;

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

pub use self::cache::{CACHE_ATTENTION, CacheAttention};
use self::kernel::{Head, Scratch, Visible, attend, pack_keys, pack_values, value_row};
pub use self::source::{SELF_ATTENTION, SPLIT, SelfAttention};
use super::input;
use super::parallel::{Disjoint, share};
use crate::simd::lanes::LANES;

/// Name of [`CrossMemory`] in a graph.
pub const CROSS_MEMORY: &str = "CrossMemory";
/// Name of [`CrossAttention`] in a graph.
pub const CROSS_ATTENTION: &str = "CrossAttention";
/// Attribute of all operators here, integer: heads.
pub const HEADS: &str = "num_heads";
/// Attribute of the attentions, float: what scores are multiplied with.
pub const SCALE: &str = "scale";
/// Attribute of [`CrossMemory`], string: [`KEYS`] or [`VALUES`].
pub const PART: &str = "part";
/// The keys.
pub const KEYS: &str = "keys";
/// The values.
pub const VALUES: &str = "values";

const FLOAT: OperatorInput = OperatorInput::required(TensorElementType::Float32);
const MASK: OperatorInput = OperatorInput::required(TensorElementType::Int32);

thread_local! {
    /// Room that each thread keeps.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

fn heads(context: &KernelContext<'_>) -> ort::Result<usize> {
    context
        .get::<i64>(HEADS)
        .filter(|heads| (1..=1 << 20).contains(heads))
        .map(|heads| heads as usize)
        .ok_or_else(|| ort::Error::new(format!("attribute '{HEADS}' is missing or wrong")))
}

fn scale(context: &KernelContext<'_>) -> ort::Result<f32> {
    context
        .get::<f32>(SCALE)
        .ok_or_else(|| ort::Error::new(format!("attribute '{SCALE}' is missing")))
}

fn mismatch(what: &str, shapes: &[&[usize]]) -> ort::Error {
    ort::Error::new(format!("{what} of shapes {shapes:?} do not fit each other"))
}

/// Positions of a memory, padding included.
fn padded(source: usize) -> usize {
    source.next_multiple_of(LANES)
}

/// Row of the values in what [`CrossMemory`] makes, for heads of this size.
pub const fn memory_value_row(size: usize) -> usize {
    value_row(size)
}

/// The operator: float32 rows `[batch * source, heads * size]` and int64 `[2]`, which is
/// `[batch, source]`, to float32 `[batch, heads, padded source, row]`. The source is padded to a multiple
/// of 16. Values have rows of `size`, padded likewise; keys have rows of `size`, sixteen of which
/// are transposed.
#[derive(Clone, Copy, Debug)]
pub struct CrossMemory;

impl Operator for CrossMemory {
    type Kernel<'attr> = CrossMemoryKernel;

    fn name(&self) -> &str {
        CROSS_MEMORY
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [FLOAT, OperatorInput::required(TensorElementType::Int64)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<CrossMemoryKernel> {
        let keys = match context.get::<String>(PART).as_deref() {
            Some(KEYS) => true,
            Some(VALUES) => false,
            _ => return Err(ort::Error::new(format!("attribute '{PART}' is wrong"))),
        };
        Ok(CrossMemoryKernel {
            heads: heads(context)?,
            keys,
        })
    }
}

/// Keys or values of a layer.
pub struct CrossMemoryKernel {
    heads: usize,
    keys: bool,
}

impl Kernel for CrossMemoryKernel {
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
        let (_, packed) = output.try_extract_tensor_mut::<f32>()?;
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
#[derive(Clone, Copy, Debug)]
pub struct CrossAttention;

impl Operator for CrossAttention {
    type Kernel<'attr> = CrossAttentionKernel;

    fn name(&self) -> &str {
        CROSS_ATTENTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [FLOAT, FLOAT, FLOAT, MASK]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<CrossAttentionKernel> {
        Ok(CrossAttentionKernel {
            heads: heads(context)?,
            scale: scale(context)?,
        })
    }
}

/// The cross-attention of a layer.
pub struct CrossAttentionKernel {
    heads: usize,
    scale: f32,
}

impl Kernel for CrossAttentionKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, queries) = input::<f32>(context, 0)?;
        let (key_dims, keys) = input::<f32>(context, 1)?;
        let (value_dims, values) = input::<f32>(context, 2)?;
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
                        visible: Visible::of(&mask[document * source..][..source]),
                        bias: None,
                        bias_stride: 0,
                        scale: self.scale,
                    };
                    attend(&head, scratch);
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
