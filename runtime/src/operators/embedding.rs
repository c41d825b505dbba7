//! `Embedding`: rows of a table that is packed as a linear layer's weights are.

use std::marker::PhantomData;

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{IntoTensorElementType, TensorElementType};

use super::linear::{Table, integer};
use super::panels::{PANEL, panels};
use super::{input, optional_input};

/// Attribute, integer: rows of the table, padding excluded.
pub const SIZE_OUT: &str = super::linear::SIZE_OUT;
/// Attribute, integer: size of a row, padding excluded.
pub const SIZE_IN: &str = "size_in";

/// The operator: int64 `ids`, packed weights of `[vocab, hidden]` and `columns` as
/// [`Linear`](super::linear::Linear) has them, to float32 `[.., hidden]`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Embedding<F>(F);

impl<F: Table> Operator for Embedding<F> {
    type Kernel<'attr> = EmbeddingKernel<F>;

    fn name(&self) -> &str {
        F::EMBEDDING
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [
            OperatorInput::required(TensorElementType::Int64),
            OperatorInput::required(F::Element::into_tensor_element_type()),
            OperatorInput::optional(TensorElementType::Float32),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<EmbeddingKernel<F>> {
        let size = |name| integer(context, name, 1..i64::from(i32::MAX));
        Ok(EmbeddingKernel {
            vocab_size: size(SIZE_OUT)? as usize,
            hidden: size(SIZE_IN)? as usize,
            format: PhantomData,
        })
    }
}

/// A table of a loaded graph.
pub(crate) struct EmbeddingKernel<F> {
    vocab_size: usize,
    hidden: usize,
    format: PhantomData<F>,
}

impl<F: Table> Kernel for EmbeddingKernel<F> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, ids) = input::<i64>(context, 0)?;
        let (packed_dims, packed) = input::<F::Element>(context, 1)?;
        let columns = optional_input::<f32>(context, 2)?.map(|(_, columns)| columns);
        let columns = columns.unwrap_or_default();
        if packed_dims != F::packed_shape(self.vocab_size, self.hidden)
            || columns.len() != F::COLUMNS * panels(self.vocab_size) * PANEL
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
            F::row(packed, columns, row, y);
        }
        Ok(())
    }
}
