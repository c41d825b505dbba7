//! Rounds matrices of a checkpoint, and packs them for the kernels.
//!
//! A matrix streams in panels of a few outputs, so that memory does not grow with its size. With
//! calibration data ([`Hessian`]), int4 weights are rounded so that their errors cancel each other.

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

/// The Hessian of a matrix for calibration: the sum `Xᵀ · X` over the inputs `X` that it read.
#[derive(Clone, Debug)]
pub struct InputProducts {
    /// The upper half of the sum, `[padded, padded]`.
    pub sums: Vec<f32>,
    /// Number of inputs of a row, without padding.
    pub size_in: usize,
    /// Number of rows in the sum.
    pub rows: usize,
}

/// Largest magnitude of the weights; 0 if there are none.
pub fn max_magnitude(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0f32, |max, weight| max.max(weight.abs()))
}

/// Whether all weights are finite, or minus infinity if that is allowed.
pub fn are_finite(weights: &[f32], minus_infinity_is_allowed: bool) -> bool {
    // One pass without a branch.
    !weights.iter().fold(false, |wrong, weight| {
        let allowed = minus_infinity_is_allowed & (*weight == f32::NEG_INFINITY);
        wrong | !(weight.is_finite() | allowed)
    })
}

/// Inverse of a scale, or 0 if the scale is 0 or its inverse infinite. Weights times the inverse
/// are rounded to integers.
fn inverse(scale: f32) -> f32 {
    let inverse = scale.recip();
    if inverse.is_finite() { inverse } else { 0.0 }
}
