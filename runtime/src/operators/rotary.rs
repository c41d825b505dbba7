//! `RotaryEmbedding`: queries and keys turned by where their tokens stand.

use epitome_kernels::rotary;
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::tensors::{input, output};
use super::threads::SessionThreads;

/// Its name in a graph.
pub const NAME: &str = "RotaryEmbedding";

/// The operator: float32 queries or keys of `[rows, heads * size]`, and float32 `[tokens, size]`
/// that holds sines and cosines of each position, as [`SinusoidalPositions`](super::positions)
/// gives them, to float32 of the shape of the first. The rows are those of `tokens` positions, once
/// or several times.
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

/// The rotation of a loaded graph.
pub(super) struct RotaryKernel;

impl Kernel for RotaryKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, x) = input::<f32>(context, 0)?;
        let (of_positions, sinusoids) = input::<f32>(context, 1)?;
        let sizes = match (&shape[..], &of_positions[..]) {
            (&[rows, hidden], &[tokens, size]) => (rows, hidden, tokens, size),
            _ => (0, 0, 0, 0),
        };
        let (rows, hidden, tokens, size) = sizes;
        let whole = |all: usize, part: usize| all > 0 && part > 0 && all.is_multiple_of(part);
        if !whole(rows, tokens) || !whole(hidden, size) || !size.is_multiple_of(2) {
            return Err(ort::Error::new(format!(
                "queries or keys of {shape:?} and sinusoids of {of_positions:?} do not fit each \
                 other"
            )));
        }
        let rotated = output::<f32>(context, 0, &shape)?;
        rotary::rotate(&SessionThreads(context), x, hidden, (sinusoids, size), rotated)
    }
}
