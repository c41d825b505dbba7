//! Weights of small precisions, packed as the runtime's operators read them.
//!
//! A matrix passes through in panels of a few outputs, so that memory does not grow with its size.

mod cholesky;
mod float;
mod int4;
mod int8;
mod packing;
pub(crate) mod product;

use epitome_runtime::bundle::Precision;
use half::f16;

use self::float::Float;
use self::int4::Int4;
pub(crate) use self::int4::{padded, rounding_bytes};
use self::int8::Int8;
pub(crate) use self::packing::{Packer, Packing};

/// What a matrix is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A linear layer.
    Layer,
    /// Keys, values or output of a decoder's cross-attention.
    CrossLayer,
    /// A table of tokens, which may be the output layer too.
    Table,
    /// What is kept in float32 whatever the precision.
    Exact,
}

/// What a matrix was multiplied with: the sum of the products `Xᵀ · X` of the rows `X` that it
/// read.
#[derive(Clone, Debug)]
pub(crate) struct InputProducts {
    /// The upper half of `[padded, padded]`.
    pub(crate) sums: Vec<f32>,
    /// Inputs of a row, without padding.
    pub(crate) size_in: usize,
    /// How many rows.
    pub(crate) rows: usize,
}

/// How a bundle of this precision packs matrices of this role. Where documents were summarized,
/// `inputs` gives what they show of the matrix.
pub(crate) fn packing(
    precision: Precision,
    role: Role,
    inputs: Option<&dyn Fn() -> Option<InputProducts>>,
) -> Box<dyn Packing> {
    match (precision, role, inputs) {
        (Precision::Fp32, ..) | (_, Role::Exact, _) => Box::<Float<f32>>::default(),
        (Precision::Fp16, ..) => Box::<Float<f16>>::default(),
        // All that a summary knows of its source passes through cross-attention: rounded to 4 bits,
        // it alone would be a third of what is lost.
        (Precision::Int8, ..)
        | (Precision::Int4, Role::Table, _)
        | (Precision::Int4, Role::CrossLayer, Some(_)) => Box::<Int8>::default(),
        (Precision::Int4, Role::Layer, Some(inputs)) => Box::new(Int4::calibrated(inputs())),
        (Precision::Int4, Role::Layer | Role::CrossLayer, None) => Box::<Int4>::default(),
    }
}
