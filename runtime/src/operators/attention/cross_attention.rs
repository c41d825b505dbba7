//! The decoder's attention over the source, whose keys and values are packed once a document.

use std::marker::PhantomData;

use epitome_kernels::attention::cross_attention::{self, KeyOrValue};
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::{CrossKv, FLOAT, Inputs, MASK, heads, packed_shape, scale};
use crate::operators::tensors::output;
use crate::operators::threads::SessionThreads;

/// Name of the attention over packed float32.
pub const CROSS_ATTENTION_FP32: &str = "CrossAttentionFp32";
/// Name of the attention over packed float16.
pub const CROSS_ATTENTION_FP16: &str = "CrossAttentionFp16";

/// The operator: float32 queries `[batch * beams, heads * size]`, keys and values of
/// [`PackCrossKv`](super::PackCrossKv) and an int32 mask `[batch, source]`, to float32
/// `[batch * beams, heads * size]`.
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
        [FLOAT, packed(), packed(), MASK]
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
            element: PhantomData,
        })
    }
}

/// The cross-attention of a layer.
pub(in crate::operators) struct CrossAttentionKernel<E> {
    heads: usize,
    scale: f32,
    element: PhantomData<E>,
}

impl<E: CrossKv> Kernel for CrossAttentionKernel<E> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let inputs = Inputs::<E>::read(context, self.heads, |sizes| {
            [KeyOrValue::Key, KeyOrValue::Value].map(|part| packed_shape(sizes, part).to_vec())
        })?;
        let sizes = inputs.sizes;
        let attention = cross_attention::CrossAttention {
            queries: inputs.queries,
            keys: inputs.keys,
            values: inputs.values,
            mask: inputs.mask,
            batch: sizes.batch,
            beams: sizes.rows / sizes.batch,
            source: sizes.source,
            heads: sizes.heads,
            size: sizes.size,
            scale: self.scale,
        };
        let shape = [sizes.rows, sizes.hidden()];
        attention.attend(&SessionThreads(context), output(context, 0, &shape)?)
    }
}
