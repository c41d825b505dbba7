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
pub(crate) use self::int4::padded;
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
}

/// How a bundle of this precision packs matrices of this role. `hessian` is the sum of the products
/// of what the matrix was multiplied with, where that is known, and how many inputs it has.
pub(crate) fn packing(
    precision: Precision,
    role: Role,
    hessian: Option<(Vec<f32>, usize)>,
) -> Box<dyn Packing> {
    match (precision, role) {
        (Precision::Fp32, _) => Box::<Float<f32>>::default(),
        (Precision::Fp16, _) => Box::<Float<f16>>::default(),
        (Precision::Int8, _) => Box::<Int8>::default(),
        (Precision::Int4, role) => match (role, hessian) {
            // All that a summary knows of its source passes here: rounded to 4 bits, they alone
            // would be a third of what is lost.
            (Role::Table, _) | (Role::CrossLayer, Some(_)) => Box::<Int8>::default(),
            (Role::Layer, Some((hessian, size_in))) => Box::new(Int4::calibrated(hessian, size_in)),
            (Role::Layer | Role::CrossLayer, None) => Box::<Int4>::default(),
        },
    }
}
