//! Keys and values of the decoder's cross-attention: its memory of documents.

use std::fmt::Debug;

use half::f16;
use ort::value::{DynTensor, PrimitiveTensorElementType, Tensor, TensorElementType};

use super::tensors::{allocate, copy_rows, kept_shape};
use crate::error::{Error, Result};

/// Keys and values of one layer's cross-attention: float32 or float16, as the graphs have them, of
/// `[documents, heads, padded source, head_size]` and `[documents, heads, padded source, row]`.
pub(super) struct CrossKv {
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

impl CrossKv {
    /// Those of a document.
    ///
    /// # Errors
    ///
    /// When they are neither float32 nor float16.
    pub(super) fn new(key: DynTensor, value: DynTensor) -> Result<Self> {
        for tensor in [&key, &value] {
            let kind = *tensor.data_type();
            if !matches!(kind, TensorElementType::Float32 | TensorElementType::Float16) {
                let problem = format!("keys and values are {kind}, and not float32 or float16");
                return Err(Error::onnx_runtime("in the encoder", problem));
            }
        }
        Ok(Self { key, value })
    }

    /// Whether every key and value is a finite number.
    pub(super) fn is_finite(&self) -> bool {
        [&self.key, &self.value].into_iter().all(|tensor| by_element!(tensor, is_finite(tensor)))
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

/// What the decoder needs of a document: cross-attention keys and values of every decoder layer, as
/// [`crate::bundle::io::cross_key`] and [`crate::bundle::io::cross_value`] have them.
pub struct SourceMemory {
    pub(super) cross: Vec<CrossKv>,
    pub(super) length: usize,
}

impl SourceMemory {
    /// Tokens of the source.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether every key and value is a finite number.
    pub fn is_finite(&self) -> bool {
        self.cross.iter().all(CrossKv::is_finite)
    }
}

/// The memories of several documents side by side, one [`CrossKv`] a layer. A single document's
/// is taken as it is.
pub(super) fn gather(mut memories: Vec<SourceMemory>) -> Result<Vec<CrossKv>> {
    if let [memory] = memories.as_mut_slice() {
        return Ok(std::mem::take(&mut memory.cross));
    }
    let layers = memories.first().map_or(0, |memory| memory.cross.len());
    (0..layers)
        .map(|layer| {
            let side_by_side = |tensor: fn(&CrossKv) -> &DynTensor| {
                let tensors = memories.iter().map(|memory| tensor(&memory.cross[layer]));
                let tensors: Vec<_> = tensors.collect();
                by_element!(tensors[0], batch(&tensors))
            };
            Ok(CrossKv {
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
    let failed = |error| Error::onnx_runtime("reading keys and values", error);
    let (_, elements) = extracted.map_err(failed)?;
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

#[cfg(test)]
mod tests {
    use super::super::tensors::filled;
    use super::*;

    /// `[1, 2, length, 3]`, from `first` on.
    fn tensor<T: Element>(length: usize, first: usize, of: fn(f32) -> T) -> DynTensor {
        let values = (0..2 * length * 3).map(|index| of((first + index) as f32));
        filled(&[1, 2, length, 3], values).unwrap().upcast()
    }

    fn check<T: Element + PartialEq>(of: fn(f32) -> T) {
        let memory = |length, first| SourceMemory {
            cross: vec![
                CrossKv::new(tensor(length, first, of), tensor(length, first + 500, of)).unwrap(),
            ],
            length,
        };
        let mut gathered = gather(vec![memory(4, 0), memory(2, 100)]).unwrap();
        let [cross] = gathered.as_mut_slice() else {
            panic!("one layer");
        };
        assert_eq!(cross.documents(), 2);
        assert!(cross.is_finite());
        let number = |value: &T| -> f32 { (*value).into() };
        let numbers = |tensor: &DynTensor| -> Vec<f32> {
            elements::<T>(tensor).unwrap().iter().map(number).collect()
        };
        let range = |from: usize, count: usize| (from..from + count).map(|value| value as f32);
        let padding = || std::iter::repeat_n(0.0, 6);
        let second = |first: usize| {
            let head = |head: usize| range(first + head * 6, 6).chain(padding());
            head(0).chain(head(1)).collect::<Vec<_>>()
        };
        assert_eq!(cross.key.shape()[..], [2, 2, 4, 3]);
        assert_eq!(numbers(&cross.key), [range(0, 24).collect(), second(100)].concat());
        assert_eq!(numbers(&cross.value)[24..], second(600));
        cross.retain(&[1]).unwrap();
        assert_eq!(numbers(&cross.key), second(100));
        assert_eq!(numbers(&cross.value), second(600));
        let infinite = CrossKv::new(tensor(2, 0, of), tensor(2, 0, |_| f32::INFINITY)).unwrap();
        assert!(!infinite.is_finite());
    }

    #[test]
    fn documents_lie_side_by_side_and_leave() {
        crate::library::OnnxRuntime::load().unwrap();
        check::<f32>(|value| value);
        check::<f16>(f16::from_f32);
        let integers: Tensor<i64> = filled(&[1], [1]).unwrap();
        let floats = tensor(1, 0, |value| value);
        let Err(error) = CrossKv::new(floats, integers.upcast()) else {
            panic!("integers are refused");
        };
        assert!(error.to_string().contains("not float32 or float16"), "{error}");
    }
}
