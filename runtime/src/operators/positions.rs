//! `SinusoidalPositions`: sinusoidal position embeddings. They are computed for any position, so
//! that no table limits the length of a source or a summary.

use epitome_kernels::sinusoid::Sinusoids;
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::tensors::{input, integer, optional_input, output};

/// Name of the operator.
pub const NAME: &str = "SinusoidalPositions";
/// Attribute, integer: size of a hidden state.
pub const SIZE: &str = "size";
/// Attribute, integer: the position of padding, whose embedding is 0; -1 for none.
pub const PADDING: &str = "padding";

/// The operator. Its inputs are the positions, int64 of any shape `[..]`; optionally a table of the
/// embeddings of the first positions, float32 `[rows, size]`; and optionally the frequencies,
/// float32 `[size / 2]`, fairseq's by default. Its output is float32 `[.., size]`.
pub(super) struct SinusoidalPositions;

impl Operator for SinusoidalPositions {
    type Kernel<'attr> = PositionsKernel;

    fn name(&self) -> &str {
        NAME
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [
            OperatorInput::required(TensorElementType::Int64),
            OperatorInput::optional(TensorElementType::Float32),
            OperatorInput::optional(TensorElementType::Float32),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<PositionsKernel> {
        // The bound limits the memory that a graph can allocate. It is far above any hidden size.
        let size = integer(context, SIZE, 1..1 << 20)? as usize;
        Ok(PositionsKernel {
            size,
            padding: integer(context, PADDING, -1..i64::from(i32::MAX))?,
            sinusoids: Sinusoids::new(size),
        })
    }
}

/// The kernel of a node.
pub(super) struct PositionsKernel {
    size: usize,
    padding: i64,
    sinusoids: Sinusoids,
}

impl Kernel for PositionsKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (mut shape, positions) = input::<i64>(context, 0)?;
        let table = optional_input::<f32>(context, 1)?;
        let table = match &table {
            Some((shape, values)) if shape.last() == Some(&self.size) => *values,
            Some((shape, _)) => {
                return Err(ort::Error::new(format!(
                    "a table of {shape:?} holds no positions of {} values",
                    self.size
                )));
            }
            None => &[],
        };
        let own = match optional_input::<f32>(context, 2)? {
            Some((_, frequencies)) if 2 * frequencies.len() == self.size => {
                Some(Sinusoids::of(frequencies))
            }
            Some((_, frequencies)) => {
                return Err(ort::Error::new(format!(
                    "{} frequencies make no positions of {} values",
                    frequencies.len(),
                    self.size
                )));
            }
            None => None,
        };
        let sinusoids = own.as_ref().unwrap_or(&self.sinusoids);
        shape.push(self.size);
        let y = output::<f32>(context, 0, &shape)?;
        for (&position, row) in positions.iter().zip(y.chunks_exact_mut(self.size)) {
            let Ok(index) = usize::try_from(position) else {
                return Err(ort::Error::new(format!("position {position} is below 0")));
            };
            match table.chunks_exact(self.size).nth(index) {
                Some(stored) => row.copy_from_slice(stored),
                None if position == self.padding => row.fill(0.0),
                None => sinusoids.write(index, row),
            }
        }
        Ok(())
    }
}
