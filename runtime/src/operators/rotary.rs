//! `RotaryEmbedding`: rotates queries or keys by the positions of their tokens.

use epitome_kernels::rotary;
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::tensors::{input, output};
use super::threads::SessionThreads;

/// Name of the operator.
pub const NAME: &str = "RotaryEmbedding";

/// The operator. Its inputs are queries or keys, float32 `[rows, heads * size]`, and the sines and
/// cosines of each position, float32 `[tokens, size]`, from
/// [`SinusoidalPositions`](super::positions). Its output has the shape of the first input. `rows`
/// is a multiple of `tokens`: row `i` has the position `i % tokens`.
pub(super) struct RotaryEmbedding;

impl Operator for RotaryEmbedding {
    type Kernel<'attr> = RotaryKernel;

    fn name(&self) -> &str {
        NAME
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let float = TensorElementType::Float32;
        [OperatorInput::required(float), OperatorInput::required(float)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<RotaryKernel> {
        Ok(RotaryKernel)
    }
}

/// The kernel of a node.
pub(super) struct RotaryKernel;

impl Kernel for RotaryKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, x) = input::<f32>(context, 0)?;
        let (sinusoids_shape, sinusoids) = input::<f32>(context, 1)?;
        let sizes = match (&shape[..], &sinusoids_shape[..]) {
            (&[rows, hidden], &[tokens, size]) => (rows, hidden, tokens, size),
            _ => (0, 0, 0, 0),
        };
        let (rows, hidden, tokens, size) = sizes;
        let whole = |all: usize, part: usize| all > 0 && part > 0 && all.is_multiple_of(part);
        if !whole(rows, tokens) || !whole(hidden, size) || !size.is_multiple_of(2) {
            return Err(ort::Error::new(format!(
                "queries or keys of {shape:?} and sinusoids of {sinusoids_shape:?} do not fit each \
                 other"
            )));
        }
        let rotated = output::<f32>(context, 0, &shape)?;
        rotary::rotate(&SessionThreads(context), x, hidden, (sinusoids, size), rotated)
    }
}
