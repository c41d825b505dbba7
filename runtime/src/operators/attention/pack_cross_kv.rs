//! Packs the keys and values of the decoder's cross-attention, once for each document.

use std::marker::PhantomData;

use epitome_kernels::attention::cross_attention::{KeyOrValue, pack};
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::{CrossKv, FLOAT, Sizes, heads, mismatch, packed_shape};
use crate::operators::tensors::{input, output};
use crate::operators::threads::SessionThreads;

/// Name of the operator that packs keys or values in float32.
pub const PACK_CROSS_KV_FP32: &str = "PackCrossKvFp32";
/// Name of the operator that packs keys or values in float16.
pub const PACK_CROSS_KV_FP16: &str = "PackCrossKvFp16";
/// Name of the operator that quantizes keys or values to int8 and packs them.
pub const PACK_CROSS_KV_INT8: &str = "PackCrossKvInt8";
/// Attribute, string: [`KEYS`] or [`VALUES`].
pub const PART: &str = "part";
/// Value of [`PART`] for keys.
pub const KEYS: &str = "keys";
/// Value of [`PART`] for values.
pub const VALUES: &str = "values";

/// The operator. Its inputs are the keys or values, float32 `[batch * source, heads * size]`, and
/// the sizes `[batch, source]`, int64 `[2]`. Its output is float32, float16 or int8 `[batch, heads,
/// padded source, row]`.
///
/// The source is padded to a multiple of 16. Rows of values have `size` elements, padded to a
/// multiple of 16. Rows of keys have `size` elements, and blocks of 16 rows are transposed. In
/// int8, a row has 4 bytes more: the float32 scales of all positions of a head precede its
/// integers.
pub(in crate::operators) struct PackCrossKv<E>(PhantomData<E>);

impl<E> Default for PackCrossKv<E> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E: CrossKv> Operator for PackCrossKv<E> {
    type Kernel<'attr> = PackCrossKvKernel<E>;

    fn name(&self) -> &str {
        E::PACK
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [FLOAT, OperatorInput::required(TensorElementType::Int64)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(E::into_tensor_element_type())]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<PackCrossKvKernel<E>> {
        let part = match context.get::<String>(PART).as_deref() {
            Some(KEYS) => KeyOrValue::Key,
            Some(VALUES) => KeyOrValue::Value,
            _ => {
                return Err(ort::Error::new(format!(
                    "attribute '{PART}' must be '{KEYS}' or '{VALUES}'"
                )));
            }
        };
        Ok(PackCrossKvKernel { heads: heads(context)?, part, element: PhantomData })
    }
}

/// The kernel of a node.
pub(in crate::operators) struct PackCrossKvKernel<E> {
    heads: usize,
    part: KeyOrValue,
    element: PhantomData<E>,
}

impl<E: CrossKv> Kernel for PackCrossKvKernel<E> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, rows) = input::<f32>(context, 0)?;
        let (_, source_shape) = input::<i64>(context, 1)?;
        let source_shape: Vec<usize> =
            source_shape.iter().map(|&dim| usize::try_from(dim).unwrap_or(usize::MAX)).collect();
        let wrong = || mismatch("rows and source", &[&shape, &source_shape]);
        let (&[count, hidden], &[batch, source]) = (&shape[..], &source_shape[..]) else {
            return Err(wrong());
        };
        if batch == 0
            || batch.checked_mul(source) != Some(count)
            || !hidden.is_multiple_of(self.heads)
            || hidden == 0
        {
            return Err(wrong());
        }
        let heads = self.heads;
        let size = hidden / heads;
        let sizes = Sizes { rows: count, heads, kv_heads: heads, size, batch, source };
        let packed = output::<E>(context, 0, &packed_shape::<E>(sizes, self.part))?;
        let dims = [batch, source, sizes.heads, sizes.size];
        pack(&SessionThreads(context), rows, dims, self.part, packed)
    }
}
