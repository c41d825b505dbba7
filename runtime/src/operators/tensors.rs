//! Reads the inputs and attributes of an operator, and provides its outputs.

use std::ops::Range;

use ort::operator::{ComputeContext, KernelContext};
use ort::value::PrimitiveTensorElementType;

/// The shape and elements of a required input.
pub(super) fn input<T: PrimitiveTensorElementType>(
    context: &ComputeContext,
    index: usize,
) -> ort::Result<(Vec<usize>, &[T])> {
    optional_input(context, index)?
        .ok_or_else(|| ort::Error::new(format!("input {index} is missing")))
}

/// The shape and elements of an optional input.
#[allow(clippy::type_complexity, reason = "a shape and its elements")]
pub(super) fn optional_input<T: PrimitiveTensorElementType>(
    context: &ComputeContext,
    index: usize,
) -> ort::Result<Option<(Vec<usize>, &[T])>> {
    if index >= context.num_inputs()? {
        return Ok(None);
    }
    let Some(value) = context.input(index)? else {
        return Ok(None);
    };
    let (shape, elements) = value.try_extract_tensor::<T>()?;
    let shape = shape.iter().map(|&dim| dim as usize).collect();
    // SAFETY: the elements belong to ONNX Runtime, which keeps an operator's inputs while the
    // operator runs. The context lives no longer than that.
    let elements = unsafe { std::slice::from_raw_parts(elements.as_ptr(), elements.len()) };
    Ok(Some((shape, elements)))
}

/// The elements of a required output of this shape.
pub(super) fn output<'a, T: PrimitiveTensorElementType>(
    context: &'a ComputeContext,
    index: usize,
    shape: &[usize],
) -> ort::Result<&'a mut [T]> {
    optional_output(context, index, shape)?
        .ok_or_else(|| ort::Error::new(format!("output {index} is missing")))
}

/// The elements of an optional output of this shape.
#[expect(clippy::mut_from_ref, reason = "ONNX Runtime owns the elements, the context lends them")]
pub(super) fn optional_output<'a, T: PrimitiveTensorElementType>(
    context: &'a ComputeContext,
    index: usize,
    shape: &[usize],
) -> ort::Result<Option<&'a mut [T]>> {
    let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
    let Some(mut value) = context.output(index, dims)? else {
        return Ok(None);
    };
    let (_, elements) = value.try_extract_tensor_mut::<T>()?;
    if elements.len() != shape.iter().product::<usize>() {
        return Err(ort::Error::new(format!(
            "output {index} has {} elements and not the shape {shape:?}",
            elements.len()
        )));
    }
    // SAFETY: the elements belong to ONNX Runtime, which keeps an operator's outputs for as long as
    // the context lives. Each output is requested once.
    let elements = unsafe { std::slice::from_raw_parts_mut(elements.as_mut_ptr(), elements.len()) };
    Ok(Some(elements))
}

/// Reads a required integer attribute, which must be in `range`.
pub(super) fn integer(
    context: &KernelContext<'_>,
    name: &str,
    range: Range<i64>,
) -> ort::Result<i64> {
    context.get::<i64>(name).filter(|value| range.contains(value)).ok_or_else(|| {
        ort::Error::new(format!(
            "attribute '{name}' must be an integer from {} to {}",
            range.start,
            range.end - 1
        ))
    })
}

/// Reads an integer attribute, which must be in `range`, or returns `default`.
pub(super) fn integer_or(
    context: &KernelContext<'_>,
    name: &str,
    default: i64,
    range: Range<i64>,
) -> ort::Result<i64> {
    match context.get::<i64>(name) {
        None => Ok(default),
        Some(_) => integer(context, name, range),
    }
}

/// Reads a required float attribute.
pub(super) fn float(context: &KernelContext<'_>, name: &str) -> ort::Result<f32> {
    context
        .get::<f32>(name)
        .ok_or_else(|| ort::Error::new(format!("attribute '{name}' must be a float")))
}
