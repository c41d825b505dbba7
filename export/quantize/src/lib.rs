//! Matrices of a checkpoint, rounded and packed as the kernels read them.
//!
//! A matrix passes through in panels of a few outputs, so that memory does not grow with its size.
//! What is multiplied with it can be watched ([`Hessian`]): int4 weights are then rounded so that
//! their errors cancel each other.

mod cholesky;
mod float;
mod hessian;
mod int4;
mod int8;
mod packing;
mod product;

pub use self::float::{fp16, fp32};
pub use self::hessian::Hessian;
pub use self::int4::{Int4, padded, rounding_bytes};
pub use self::int8::Int8;
pub use self::packing::{Format, Packer, Packing};

/// What a matrix was multiplied with: the sum of the products `Xᵀ · X` of the rows `X` that it
/// read.
#[derive(Clone, Debug)]
pub struct InputProducts {
    /// The upper half of `[padded, padded]`.
    pub sums: Vec<f32>,
    /// Inputs of a row, without padding.
    pub size_in: usize,
    /// How many rows.
    pub rows: usize,
}

/// The largest magnitude of these weights; 0 where there are none.
pub fn max_magnitude(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0f32, |max, weight| max.max(weight.abs()))
}

/// Whether all these weights are finite numbers, or minus infinity where that is allowed.
pub fn are_finite(weights: &[f32], minus_infinity_is_allowed: bool) -> bool {
    // One pass without a branch.
    !weights.iter().fold(false, |wrong, weight| {
        let allowed = minus_infinity_is_allowed & (*weight == f32::NEG_INFINITY);
        wrong | !(weight.is_finite() | allowed)
    })
}

/// The inverse of a scale: weights times it are rounded to integers. It is 0 where the scale is 0
/// or so small that its inverse is infinite, and all integers are 0 then.
fn inverse(scale: f32) -> f32 {
    let inverse = scale.recip();
    if inverse.is_finite() { inverse } else { 0.0 }
}
