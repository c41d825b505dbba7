//! Making and copying tensors.

use std::fmt::Debug;
use std::ptr;

use half::f16;
use ort::memory::Allocator;
use ort::value::{PrimitiveTensorElementType, Tensor, TensorValueType, Value};
use ort::{AsPointer, ortsys};

use crate::error::{Error, Result};

pub(super) type FloatTensor = Value<TensorValueType<f32>>;

/// Elements of tensors of which any bits are a value.
///
/// # Safety
///
/// It is so.
pub(super) unsafe trait AnyBits: PrimitiveTensorElementType + Debug {}

// SAFETY: all of them are numbers.
unsafe impl AnyBits for f32 {}
// SAFETY: as above.
unsafe impl AnyBits for f16 {}
// SAFETY: as above.
unsafe impl AnyBits for i8 {}
// SAFETY: as above.
unsafe impl AnyBits for i32 {}
// SAFETY: as above.
unsafe impl AnyBits for i64 {}

/// A tensor of any values, which can be bound as input and as output. Unlike `Tensor::new` it
/// writes no zeros: where the system gives pages when they are touched, what is never written takes
/// no memory.
pub(super) fn allocate<T: AnyBits>(shape: &[usize]) -> Result<Tensor<T>> {
    let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
    let allocator = Allocator::default();
    let create = || -> ort::Result<Tensor<T>> {
        let mut tensor = ptr::null_mut();
        ortsys![
            // SAFETY: the allocator and the dimensions outlive the call, which writes a pointer.
            unsafe CreateTensorAsOrtValue(
                allocator.ptr().cast_mut(),
                dims.as_ptr(),
                dims.len(),
                T::into_tensor_element_type().into(),
                &mut tensor
            )?;
            nonNull(tensor)
        ];
        // SAFETY: a tensor of that type and allocator. Its memory comes from a library, so that all
        // of it counts as written; whatever it holds is a value.
        Ok(unsafe { Tensor::from_ptr(tensor, Some(&allocator)) })
    };
    let mut tensor =
        create().map_err(|error| Error::onnx_runtime(format!("allocating {shape:?}"), error))?;
    // New memory is mostly zeros, so tests would not notice who relies on that.
    if cfg!(debug_assertions) {
        let (_, values) = tensor.extract_tensor_mut();
        // SAFETY: all bytes of the values, for each of which any bits will do.
        unsafe { ptr::write_bytes(values.as_mut_ptr(), 0xff, values.len()) };
    }
    Ok(tensor)
}

/// A tensor with these values.
pub(super) fn filled<T: AnyBits>(
    shape: &[usize],
    values: impl IntoIterator<Item = T>,
) -> Result<Tensor<T>> {
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
