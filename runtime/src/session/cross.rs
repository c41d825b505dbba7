//! The decoder's memory of documents: keys and values of its cross-attention.

use std::fmt::Debug;

use half::f16;
use ort::value::{DynTensor, PrimitiveTensorElementType, Tensor, TensorElementType};

use super::decoder::{copy_rows, kept_shape};
use super::{SourceMemory, allocate};
use crate::error::{Error, Result};

/// Keys and values of one layer's cross-attention: float32 or float16, as the graphs have them, of
/// `[documents, heads, source, head_size]`.
pub(super) struct Cross {
    pub(super) key: DynTensor,
    pub(super) value: DynTensor,
}

/// Calls a function made for what a tensor's elements are.
macro_rules! by_element {
    ($tensor:expr, $function:ident($($argument:expr),*)) => {
        match $tensor.data_type() {
            TensorElementType::Float16 => $function::<f16>($($argument),*),
            _ => $function::<f32>($($argument),*),
        }
    };
}

impl Cross {
    /// Whether every key and value is a finite number.
    pub(super) fn is_finite(&self) -> bool {
        [&self.key, &self.value]
            .into_iter()
            .all(|tensor| by_element!(tensor, is_finite(tensor)))
    }

    /// Documents.
    pub(super) fn documents(&self) -> usize {
        self.key.shape()[0] as usize
    }

    /// Keeps these documents alone.
    pub(super) fn retain(&mut self, documents: &[usize]) -> Result<()> {
        for tensor in [&mut self.key, &mut self.value] {
            *tensor = by_element!(tensor, of_documents(tensor, documents))?;
        }
        Ok(())
    }
}

/// The memories of several documents side by side, one [`Cross`] a layer. A single document's
/// is taken as it is.
pub(super) fn gather(mut memories: Vec<SourceMemory>) -> Result<Vec<Cross>> {
    if let [memory] = memories.as_mut_slice() {
        return Ok(std::mem::take(&mut memory.cross));
    }
    let layers = memories.first().map_or(0, |memory| memory.cross.len());
    (0..layers)
        .map(|layer| {
            let side_by_side = |tensor: fn(&Cross) -> &DynTensor| {
                let tensors = memories.iter().map(|memory| tensor(&memory.cross[layer]));
                let tensors: Vec<_> = tensors.collect();
                by_element!(tensors[0], batch(&tensors))
            };
            Ok(Cross {
                key: side_by_side(|cross| &cross.key)?,
                value: side_by_side(|cross| &cross.value)?,
            })
        })
        .collect()
}

/// A kept number.
trait Element: PrimitiveTensorElementType + Copy + Default + Debug + Into<f32> + 'static {}
impl Element for f32 {}
impl Element for f16 {}

fn elements<T: Element>(tensor: &DynTensor) -> Result<&[T]> {
    let extracted = tensor.try_extract_tensor::<T>();
    let (_, elements) = extracted.map_err(|error| Error::onnx_runtime("in the encoder", error))?;
    Ok(elements)
}

fn is_finite<T: Element>(tensor: &DynTensor) -> bool {
    let finite = |&number: &T| -> bool { number.into().is_finite() };
    elements::<T>(tensor).is_ok_and(|numbers| numbers.iter().all(finite))
}

fn of_documents<T: Element>(tensor: &DynTensor, documents: &[usize]) -> Result<DynTensor> {
    let mut smaller = allocate(&kept_shape(tensor.shape(), documents.len()))?;
    copy_rows(elements::<T>(tensor)?, &mut smaller, documents);
    Ok(smaller.upcast())
}

/// Tensors of `[1, heads, length, size]` in one, each padded to the longest. (Lengths may be padded
/// already, to whole blocks of an operator's layout.)
fn batch<T: Element>(tensors: &[&DynTensor]) -> Result<DynTensor> {
    let dims = |tensor: &DynTensor| -> [usize; 4] {
        std::array::from_fn(|axis| tensor.shape()[axis] as usize)
    };
    let longest = tensors.iter().map(|tensor| dims(tensor)[2]).max();
    let longest = longest.unwrap_or(0);
    let [_, heads, _, size] = dims(tensors[0]);
    let mut batch: Tensor<T> = allocate(&[tensors.len(), heads, longest, size])?;
    let (_, to) = batch.extract_tensor_mut();
    let documents = to.chunks_exact_mut(heads * longest * size);
    for (to, tensor) in documents.zip(tensors) {
        let [_, _, length, _] = dims(tensor);
        let heads = to.chunks_exact_mut(longest * size);
        for (to, from) in heads.zip(elements::<T>(tensor)?.chunks_exact(length * size)) {
            // Padding is zeroed, since masked positions still take part in a product.
            let (to, padding) = to.split_at_mut(from.len());
            to.copy_from_slice(from);
            padding.fill(T::default());
        }
    }
    Ok(batch.upcast())
}
