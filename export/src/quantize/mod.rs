//! Weights of small precisions, packed as the runtime's operators read them.
//!
//! A matrix passes through in panels of a few outputs, so that memory does not grow with its size.

mod float;
mod int4;
mod int8;
mod packing;

use epitome_runtime::bundle::Precision;
use half::f16;

use self::float::Float;
use self::int4::Int4;
use self::int8::Int8;
pub(crate) use self::packing::{Packer, Packing};

/// What a matrix is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A linear layer.
    Layer,
    /// A table of tokens, which may be the output layer too.
    Table,
}

/// How a bundle of this precision packs matrices of this role.
pub(crate) fn packing(precision: Precision, role: Role) -> Box<dyn Packing> {
    match (precision, role) {
        (Precision::Fp32, _) => Box::<Float<f32>>::default(),
        (Precision::Fp16, _) => Box::<Float<f16>>::default(),
        (Precision::Int8, Role::Layer | Role::Table) | (Precision::Int4, Role::Table) => {
            Box::<Int8>::default()
        }
        (Precision::Int4, Role::Layer) => Box::<Int4>::default(),
    }
}
