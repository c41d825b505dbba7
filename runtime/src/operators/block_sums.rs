//! `BlockSums`: sums of the hidden states of each block of tokens.

use epitome_kernels::block_sums;
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::tensors::{input, output};
use super::threads::SessionThreads;

/// Name of the operator.
pub const NAME: &str = "BlockSums";

/// The operator. Its inputs are `x`, float32 `[batch * source, size]`; the block of each token,
/// int32 `[batch, source]`; and the number of blocks, int64 `[1]`, at most `source + 1`. Its output
/// is the sums, float32 `[batch * blocks, size]`. A token with no valid block is ignored.
pub(super) struct BlockSums;

impl Operator for BlockSums {
    type Kernel<'attr> = BlockSumsKernel;

    fn name(&self) -> &str {
        NAME
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [
            OperatorInput::required(TensorElementType::Float32),
            OperatorInput::required(TensorElementType::Int32),
            OperatorInput::required(TensorElementType::Int64),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<BlockSumsKernel> {
        Ok(BlockSumsKernel)
    }
}

/// The kernel of a node.
pub(super) struct BlockSumsKernel;

impl Kernel for BlockSumsKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, x) = input::<f32>(context, 0)?;
        let (blocks_shape, blocks) = input::<i32>(context, 1)?;
        let (_, count) = input::<i64>(context, 2)?;
        let (&[rows, size], &[batch, source], &[count]) = (&shape[..], &blocks_shape[..], count)
        else {
            return Err(ort::Error::new(format!(
                "x of {shape:?}, blocks of {blocks_shape:?} and {count:?} of them do not fit each \
                 other"
            )));
        };
        let count = usize::try_from(count).ok().filter(|&count| count <= source + 1);
        let Some(count) = count.filter(|_| batch > 0 && batch * source == rows) else {
            return Err(ort::Error::new(format!(
                "{rows} rows are not {batch} documents of {source} tokens, or their blocks are \
                 more than one more than tokens"
            )));
        };
        let sums = output::<f32>(context, 0, &[batch * count, size])?;
        block_sums::BlockSums { x, blocks, batch, count, size }.sum(&SessionThreads(context), sums)
    }
}
