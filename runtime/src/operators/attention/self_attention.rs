//! The encoder's attention of each document over itself.

use epitome_kernels::attention::self_attention::{self, ScoreBias};
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::{FLOAT, Inputs, MASK, heads, mismatch, scale};
use crate::operators::tensors::{optional_input, output};
use crate::operators::threads::SessionThreads;

/// Name of the operator.
pub const SELF_ATTENTION: &str = "SelfAttention";
/// Attribute, integer: 1 where a processor with AMX may split factors into two bfloat16 each, whose
/// products are within 2^-16; otherwise everything is float32.
pub const SPLIT: &str = "split";

/// The operator: float32 queries, keys and values of `[batch * source, heads * size]`, an int32
/// mask `[batch, source]` and an optional float32 bias `[1 or batch, 1 or heads, source, source]`
/// that is added to the scores, to float32 `[batch * source, heads * size]`.
pub(in crate::operators) struct SelfAttention;

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

/// The self-attention of an encoder's layer.
pub(in crate::operators) struct SelfAttentionKernel {
    heads: usize,
    scale: f32,
    split: bool,
}

impl Kernel for SelfAttentionKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let inputs = Inputs::<f32>::read(context, self.heads, |sizes| {
            let shape = vec![sizes.batch * sizes.source, sizes.hidden()];
            [shape.clone(), shape]
        })?;
        let bias = optional_input::<f32>(context, 4)?;
        let sizes = inputs.sizes;
        let shape = [sizes.batch * sizes.source, sizes.hidden()];
        if sizes.rows != shape[0] {
            return Err(mismatch(
                "queries and mask",
                &[&[sizes.rows], &[sizes.batch, sizes.source]],
            ));
        }
        let scores = [sizes.batch, sizes.heads, sizes.source];
        let bias = bias
            .map(|(dims, bias)| {
                ScoreBias::new(&dims, bias, scores)
                    .ok_or_else(|| mismatch("bias and batch, heads, source", &[&dims, &scores]))
            })
            .transpose()?;
        let attention = self_attention::SelfAttention {
            queries: inputs.queries,
            keys: inputs.keys,
            values: inputs.values,
            mask: inputs.mask,
            batch: sizes.batch,
            source: sizes.source,
            heads: sizes.heads,
            size: sizes.size,
            bias,
            scale: self.scale,
            split: self.split,
        };
        attention.attend(&SessionThreads(context), output(context, 0, &shape)?)
    }
}
