//! Allocates and copies tensors.

use std::fmt::Debug;
use std::ptr;

use half::f16;
use ort::memory::Allocator;
use ort::value::{PrimitiveTensorElementType, Tensor, TensorValueType, Value};
use ort::{AsPointer, ortsys};

use crate::error::{Error, Result};

/// A float32 tensor.
pub(super) type FloatTensor = Value<TensorValueType<f32>>;

/// Element types for which any bits are a valid value.
///
/// # Safety
///
/// Any bits must be a valid value of the type.
pub(super) unsafe trait AnyBitPattern: PrimitiveTensorElementType + Debug {}

// SAFETY: any bits are a valid number.
unsafe impl AnyBitPattern for f32 {}
// SAFETY: any bits are a valid number.
unsafe impl AnyBitPattern for f16 {}
// SAFETY: any bits are a valid number.
unsafe impl AnyBitPattern for i8 {}
// SAFETY: any bits are a valid number.
unsafe impl AnyBitPattern for i32 {}
// SAFETY: any bits are a valid number.
unsafe impl AnyBitPattern for i64 {}

/// Allocates a tensor of unspecified values, which can be bound as input and as output. Unlike
/// `Tensor::new` this writes no zeros, so that pages that are never written take no memory.
pub(super) fn allocate<T: AnyBitPattern>(shape: &[usize]) -> Result<Tensor<T>> {
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
        // SAFETY: the tensor has that type and allocator. Its memory comes from a library, so that
        // it counts as initialized, and any bits are a valid value.
        Ok(unsafe { Tensor::from_ptr(tensor, Some(&allocator)) })
    };
    let mut tensor =
        create().map_err(|error| Error::onnx_runtime(format!("allocating {shape:?}"), error))?;
    // New memory is mostly zeros. Other values help tests to find code that relies on zeros.
    if cfg!(debug_assertions) {
        let (_, values) = tensor.extract_tensor_mut();
        // SAFETY: these are all bytes of the values, and any bits are a valid value.
        unsafe { ptr::write_bytes(values.as_mut_ptr(), 0xff, values.len()) };
    }
    Ok(tensor)
}

/// Allocates a tensor with these values.
pub(super) fn filled<T: AnyBitPattern>(
    shape: &[usize],
    values: impl IntoIterator<Item = T>,
) -> Result<Tensor<T>> {
    let mut tensor = allocate(shape)?;
    let (_, elements) = tensor.extract_tensor_mut();
    elements.iter_mut().zip(values).for_each(|(element, value)| *element = value);
    Ok(tensor)
}

/// Copies the first `length` elements of each row. Both tensors have `rows` rows of equal size.
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
