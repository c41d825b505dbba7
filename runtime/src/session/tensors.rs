//! Making and copying tensors.

use std::fmt::Debug;

use ort::value::{PrimitiveTensorElementType, Tensor, TensorValueType, Value};

use crate::error::{Error, Result};

pub(super) type FloatTensor = Value<TensorValueType<f32>>;

/// An uninitialized tensor that can be bound as input and as output.
pub(super) fn allocate<T>(shape: &[usize]) -> Result<Tensor<T>>
where
    T: PrimitiveTensorElementType + Debug,
{
    let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
    Tensor::new(&ort::memory::Allocator::default(), dims)
        .map_err(|error| Error::onnx_runtime(format!("allocating {shape:?}"), error))
}

/// A tensor with these values.
pub(super) fn filled<T>(shape: &[usize], values: impl IntoIterator<Item = T>) -> Result<Tensor<T>>
where
    T: PrimitiveTensorElementType + Debug,
{
    let mut tensor = allocate(shape)?;
    let (_, slots) = tensor.extract_tensor_mut();
    slots.iter_mut().zip(values).for_each(|(slot, value)| *slot = value);
    Ok(tensor)
}

/// Copies the first `length` elements of each of the `rows` of equal size in a tensor.
pub(super) fn copy_prefixes<T>(from: &Tensor<T>, to: &mut Tensor<T>, rows: usize, length: usize)
where
    T: PrimitiveTensorElementType + Debug + Copy,
{
    if rows == 0 || length == 0 {
        return;
    }
    let (_, from) = from.extract_tensor();
    let (_, to) = to.extract_tensor_mut();
    let (from_size, to_size) = (from.len() / rows, to.len() / rows);
    for (to, from) in to.chunks_exact_mut(to_size).zip(from.chunks_exact(from_size)) {
        to[..length].copy_from_slice(&from[..length]);
    }
}
