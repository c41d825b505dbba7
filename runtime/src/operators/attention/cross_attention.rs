//! The decoder's cross-attention. The keys and values of a source are packed once.

use std::marker::PhantomData;

use epitome_kernels::attention::cross_attention::{self, KeyOrValue, Source};
use epitome_kernels::attention::padded_positions;
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::{Attributes, CrossKv, FLOAT, mismatch};
use crate::operators::tensors::{input, optional_output, output};
use crate::operators::threads::SessionThreads;

/// Name of the operator with float32 keys and values.
pub const CROSS_ATTENTION_FP32: &str = "CrossAttentionFp32";
/// Name of the operator with float16 keys and values.
pub const CROSS_ATTENTION_FP16: &str = "CrossAttentionFp16";
/// Name of the operator with int8 keys and values.
pub const CROSS_ATTENTION_INT8: &str = "CrossAttentionInt8";

/// The operator: attention of the rows of each document over the document's source.
///
/// Inputs:
///
/// - queries: float32 `[rows, heads * size]`;
/// - keys and values: float32, float16 or int8 `[1, kv_heads, slots, row]` each, of all documents.
///   A document has consecutive slots, with the result of [`PackCrossKv`](super::PackCrossKv) as
///   `[kv_heads, padded source, row]`;
/// - sources: int32 `[documents, 3]`, for each document its number of rows, its first slot, and its
///   number of source tokens. The rows of a document follow those of the document before it.
///
/// Outputs:
///
/// - the result: float32 `[rows, heads * size]`;
/// - sums, optional: float32 `[rows, heads, 2]`, the largest score of each query and head, and the
///   sum of `exp(score - largest)`.
pub(in crate::operators) struct CrossAttention<E>(PhantomData<E>);

impl<E> Default for CrossAttention<E> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E: CrossKv> Operator for CrossAttention<E> {
    type Kernel<'attr> = CrossAttentionKernel<E>;

    fn name(&self) -> &str {
        E::ATTENTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let packed = || OperatorInput::required(E::into_tensor_element_type());
        [FLOAT, packed(), packed(), OperatorInput::required(TensorElementType::Int32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        let floats = TensorElementType::Float32;
        [OperatorOutput::required(floats), OperatorOutput::optional(floats)]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<CrossAttentionKernel<E>> {
        Ok(CrossAttentionKernel { attributes: Attributes::read(context)?, element: PhantomData })
    }
}

/// The kernel of a node.
pub(in crate::operators) struct CrossAttentionKernel<E> {
    attributes: Attributes,
    element: PhantomData<E>,
}

impl<E: CrossKv> Kernel for CrossAttentionKernel<E> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, queries) = input::<f32>(context, 0)?;
        let (key_shape, keys) = input::<E>(context, 1)?;
        let (value_shape, values) = input::<E>(context, 2)?;
        let (source_shape, sources) = input::<i32>(context, 3)?;
        let shapes = [&shape[..], &key_shape, &value_shape, &source_shape];
        let wrong = || mismatch("queries, keys, values and sources", &shapes);
        let Attributes { heads, kv_heads, scale, softcap } = self.attributes;
        let (&[rows, hidden], &[1, key_heads, slots, row]) = (&shape[..], &key_shape[..]) else {
            return Err(wrong());
        };
        let size = hidden / heads;
        if key_heads != kv_heads
            || heads * size != hidden
            || row != KeyOrValue::Key.row::<E>(size)
            || value_shape != [1, kv_heads, slots, KeyOrValue::Value.row::<E>(size)]
            || source_shape.get(1..) != Some(&[3])
        {
            return Err(wrong());
        }
        let attention = cross_attention::CrossAttention {
            queries,
            keys,
            values,
            sources: &read_sources(sources, rows, slots)?,
            heads,
            kv_heads,
            size,
            scale,
            softcap,
        };
        let attended = output(context, 0, &shape)?;
        let sums = optional_output(context, 1, &[rows, heads, 2])?;
        attention.attend(&SessionThreads(context), attended, sums)
    }
}

/// Reads and checks the documents. They must have `rows` rows in all, and slots below `slots`.
fn read_sources(numbers: &[i32], rows: usize, slots: usize) -> ort::Result<Vec<Source>> {
    let mut first_row = 0;
    let mut read = |numbers: &[i32; 3]| {
        let [rows, first_slot, length] = numbers.map(|number| usize::try_from(number).ok());
        let source = Source { first_row, rows: rows?, first_slot: first_slot?, length: length? };
        first_row += source.rows;
        let end = source.first_slot + padded_positions(source.length);
        (source.length > 0 && end <= slots).then_some(source)
    };
    let sources: Option<Vec<_>> = numbers.as_chunks().0.iter().map(&mut read).collect();
    sources.filter(|_| first_row == rows).ok_or_else(|| {
        ort::Error::new(format!("the sources {numbers:?} do not fit {rows} rows and {slots} slots"))
    })
}
