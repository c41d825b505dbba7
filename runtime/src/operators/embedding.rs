//! `Embedding`: looks up rows of a table that is packed like the weights of a linear layer.

use std::marker::PhantomData;

use epitome_kernels::float::{Fp16, Fp32};
use epitome_kernels::int8::Int8;
use epitome_kernels::linear::TableFormat;
use epitome_kernels::panels::{PANEL, panels};
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{IntoTensorElementType, PrimitiveTensorElementType, TensorElementType};

use super::tensors::{input, integer, optional_input, output};

/// Name of the operator with a float32 table.
pub const EMBEDDING_FP32: &str = "EmbeddingFp32";
/// Name of the operator with a float16 table.
pub const EMBEDDING_FP16: &str = "EmbeddingFp16";
/// Name of the operator with an int8 table.
pub const EMBEDDING_INT8: &str = "EmbeddingInt8";

/// Attribute, integer: number of rows of the table, padding excluded.
pub const SIZE_OUT: &str = super::linear::SIZE_OUT;
/// Attribute, integer: size of a row, padding excluded.
pub const SIZE_IN: &str = "size_in";

/// A format of tables, with the name of its operator.
pub(super) trait EmbeddingFormat: TableFormat<Element: PrimitiveTensorElementType> {
    /// Name of the operator.
    const EMBEDDING: &'static str;
}

impl EmbeddingFormat for Fp32 {
    const EMBEDDING: &'static str = EMBEDDING_FP32;
}

impl EmbeddingFormat for Fp16 {
    const EMBEDDING: &'static str = EMBEDDING_FP16;
}

impl EmbeddingFormat for Int8 {
    const EMBEDDING: &'static str = EMBEDDING_INT8;
}

/// The operator. Its inputs are the token ids, int64 of any shape `[..]`, and the packed table of
/// `[vocab, hidden]` with its `columns`, as in [`Linear`](super::linear::Linear). Its output is
/// float32 `[.., hidden]`.
pub(super) struct Embedding<F>(PhantomData<F>);

impl<F> Default for Embedding<F> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<F: EmbeddingFormat> Operator for Embedding<F> {
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

/// The kernel of a node.
pub(super) struct EmbeddingKernel<F> {
    vocab_size: usize,
    hidden: usize,
    format: PhantomData<F>,
}

impl<F: EmbeddingFormat> Kernel for EmbeddingKernel<F> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (mut shape, ids) = input::<i64>(context, 0)?;
        let (packed_shape, packed) = input::<F::Element>(context, 1)?;
        let columns = optional_input::<f32>(context, 2)?.map(|(_, columns)| columns);
        let columns = columns.unwrap_or_default();
        if packed_shape != F::packed_shape(self.vocab_size, self.hidden)
            || columns.len() != F::COLUMNS * panels(self.vocab_size) * PANEL
        {
            return Err(ort::Error::new(format!(
                "packed weights of {packed_shape:?} and {} column values are not a table of \
                 {} rows of {}",
                columns.len(),
                self.vocab_size,
                self.hidden,
            )));
        }
        shape.push(self.hidden);
        let y = output::<f32>(context, 0, &shape)?;
        for (&id, y) in ids.iter().zip(y.chunks_exact_mut(self.hidden)) {
            let row =
                usize::try_from(id).ok().filter(|&row| row < self.vocab_size).ok_or_else(|| {
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
