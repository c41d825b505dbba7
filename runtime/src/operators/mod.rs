//! The operators of our own that the graphs of bundles use, in the domain [`DOMAIN`].
//!
//! ONNX Runtime's operators copy weights into a layout of their own when a model is loaded. Those
//! for small weights round activations with one scale for all rows, or saturate on processors
//! without dot products. These operators read packed weights where `weights.bin` is mapped, give
//! each row its own scale where activations are rounded, and compute the same integers on every
//! processor: a bundle works anywhere.
//!
//! | operator | computes |
//! | --- | --- |
//! | [`Linear`](linear), one for each weight format | `activation(x · weightsᵀ + bias)` |
//! | [`Embedding`](embedding), one for each format of tables | rows of a packed table |
//! | [`Norm`](norm) | a residual addition and the normalization behind it |
//! | [`SinusoidalPositions`](positions) | positions that are computed and have no end |
//! | [`attention`] | self-attention, cross-attention and cached attention |
//!
//! An operator declares its inputs, checks what it is given, and calls [`epitome_kernels`]. A new
//! weight format is a module there, its name in [`linear`], a line in `domain`, and a packing in
//! `epitome-export`.

pub mod attention;
pub mod embedding;
#[cfg(test)]
mod hostile;
pub mod linear;
mod no_unwind;
pub mod norm;
pub mod positions;
pub mod registration;
mod tensors;
mod threads;

use epitome_kernels::float::{Fp16, Fp32};
use epitome_kernels::int4::Int4;
use epitome_kernels::int8::Int8;
use half::f16;
use ort::operator::OperatorDomain;

use self::attention::{CachedAttention, CrossAttention, PackCrossKv, SelfAttention};
use self::embedding::Embedding;
use self::linear::Linear;
use self::no_unwind::NoUnwind;

/// The domain of the operators.
pub const DOMAIN: &str = "epitome";

/// Every operator, to be registered with a session.
pub(crate) fn domain() -> ort::Result<OperatorDomain> {
    OperatorDomain::new(DOMAIN)?
        .add(NoUnwind(Linear::<Fp32>::default()))?
        .add(NoUnwind(Linear::<Fp16>::default()))?
        .add(NoUnwind(Linear::<Int8>::default()))?
        .add(NoUnwind(Linear::<Int4>::default()))?
        .add(NoUnwind(Embedding::<Fp32>::default()))?
        .add(NoUnwind(Embedding::<Fp16>::default()))?
        .add(NoUnwind(Embedding::<Int8>::default()))?
        .add(NoUnwind(norm::Norm))?
        .add(NoUnwind(positions::SinusoidalPositions))?
        .add(NoUnwind(SelfAttention))?
        .add(NoUnwind(PackCrossKv::<f32>::default()))?
        .add(NoUnwind(PackCrossKv::<f16>::default()))?
        .add(NoUnwind(CrossAttention::<f32>::default()))?
        .add(NoUnwind(CrossAttention::<f16>::default()))?
        .add(NoUnwind(CachedAttention))
}
