//! `Embedding`: rows of a table that is packed as a linear layer's weights are.

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::input;
use super::panels::{GROUP, PANEL, packed_shape, padded_inputs};

/// Its name in a graph.
pub const NAME: &str = "Embedding";
/// Attribute, integer: rows of the table, padding excluded.
pub const SIZE_OUT: &str = super::linear::SIZE_OUT;
/// Attribute, integer: size of a row, padding excluded.
pub const SIZE_IN: &str = "size_in";

/// The operator: int64 `ids`, packed int8 weights of `[vocab, hidden]` and float32 `columns` as
/// [`Linear`](super::linear::Linear) has them, to float32 `[.., hidden]`.
#[derive(Clone, Copy, Debug)]
pub struct Embedding;

impl Operator for Embedding {
    type Kernel<'attr> = EmbeddingKernel;

    fn name(&self) -> &str {
        NAME
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [
            OperatorInput::required(TensorElementType::Int64),
            OperatorInput::required(TensorElementType::Int8),
            OperatorInput::required(TensorElementType::Float32),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<EmbeddingKernel> {
        let size = |name: &str| {
            context
                .get::<i64>(name)
                .filter(|size| (1..i64::from(i32::MAX)).contains(size))
                .map(|size| size as usize)
                .ok_or_else(|| ort::Error::new(format!("attribute '{name}' is missing or wrong")))
        };
        Ok(EmbeddingKernel {
            vocab_size: size(SIZE_OUT)?,
            hidden: size(SIZE_IN)?,
        })
    }
}

/// A table of a loaded graph.
pub struct EmbeddingKernel {
    vocab_size: usize,
    hidden: usize,
}

impl Kernel for EmbeddingKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, ids) = input::<i64>(context, 0)?;
        let (packed_dims, packed) = input::<i8>(context, 1)?;
        let (_, columns) = input::<f32>(context, 2)?;
        if packed_dims != packed_shape(self.vocab_size, self.hidden)
            || columns.len() < self.vocab_size
        {
            return Err(ort::Error::new(format!(
                "packed weights of {packed_dims:?} and {} column values are no table of \
                 {} rows of {}",
                columns.len(),
                self.vocab_size,
                self.hidden,
            )));
        }
        let dims: Vec<i64> = shape
            .iter()
            .chain([&self.hidden])
            .map(|&dim| dim as i64)
            .collect();
        let mut output = context
            .output(0, dims)?
            .ok_or_else(|| ort::Error::new("there is no output"))?;
        let (_, y) = output.try_extract_tensor_mut::<f32>()?;
        let panel_size = padded_inputs(self.hidden) * PANEL;
        for (&id, y) in ids.iter().zip(y.chunks_exact_mut(self.hidden)) {
            let row = usize::try_from(id)
                .ok()
                .filter(|&row| row < self.vocab_size)
                .ok_or_else(|| {
                    ort::Error::new(format!(
                        "token {id} is beyond the vocabulary of {}",
                        self.vocab_size
                    ))
                })?;
            let panel = &packed[row / PANEL * panel_size..][..panel_size];
            let groups = panel.chunks_exact(PANEL * GROUP);
            for (group, y) in groups.zip(y.chunks_mut(GROUP)) {
                let weights = &group[row % PANEL * GROUP..][..GROUP];
                for (y, &weight) in y.iter_mut().zip(weights) {
                    *y = columns[row] * f32::from(weight);
                }
            }
        }
        Ok(())
    }
}
