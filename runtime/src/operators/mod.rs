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
//! | [`FeedForward`](feed_forward), one for each weight format | the linear layers between the attentions |
//! | [`Experts`](experts), one for each weight format | a mixture of several of those: experts |
//! | [`Embedding`](embedding), one for each format of tables | rows of a packed table |
//! | [`Norm`](norm) | a residual addition and the normalization behind it |
//! | [`BlockSums`](block_sums) | sums of the tokens of each block |
//! | [`SinusoidalPositions`](positions) | positions that are computed and have no end |
//! | [`RotaryEmbedding`](rotary) | queries and keys turned by their position |
//! | [`Observe`](observe) | nothing: it shows a tensor to an export |
//! | [`attention`] | self-attention, cross-attention and cached attention |
//!
//! An operator declares its inputs, checks what it is given, and calls [`epitome_kernels`]. A new
//! weight format is a module there, its name in [`linear`], a line in `domain`, and a packing in
//! `epitome-export`.

pub mod attention;
pub mod block_sums;
pub mod embedding;
pub mod experts;
pub mod feed_forward;
#[cfg(test)]
mod hostile;
pub mod linear;
mod memory;
mod no_unwind;
pub mod norm;
pub mod observe;
pub mod positions;
pub mod registration;
pub mod rotary;
mod tensors;
mod threads;

use std::sync::Arc;

use epitome_kernels::float::{Fp16, Fp32};
use epitome_kernels::int4::Int4;
use epitome_kernels::int8::Int8;
use half::f16;
use ort::operator::OperatorDomain;

use self::attention::{CachedAttention, CrossAttention, PackCrossKv, SelfAttention};
use self::embedding::Embedding;
use self::experts::Experts;
use self::feed_forward::FeedForward;
use self::linear::{Linear, LinearFormat};
use self::memory::{Memory, Shared};
use self::no_unwind::NoUnwind;
use self::observe::{Observe, Observer};

/// The domain of the operators.
pub const DOMAIN: &str = "epitome";

/// The operators of linear layers of a format, with the memory that they share.
fn add_layers<F: LinearFormat>(
    domain: OperatorDomain,
    shared: &Shared,
) -> ort::Result<OperatorDomain> {
    let memory = Memory::<F>::new(shared);
    domain
        .add(NoUnwind(Linear(memory.clone())))?
        .add(NoUnwind(FeedForward(memory.clone())))?
        .add(NoUnwind(Experts(memory)))
}

/// Every operator, to be registered with a session: [`observe`] among them where somebody watches.
pub(crate) fn domain(observer: Option<&Arc<dyn Observer>>) -> ort::Result<OperatorDomain> {
    let shared = &Shared::default();
    let domain = OperatorDomain::new(DOMAIN)?;
    let domain = add_layers::<Fp32>(domain, shared)?;
    let domain = add_layers::<Fp16>(domain, shared)?;
    let domain = add_layers::<Int8>(domain, shared)?;
    let domain = add_layers::<Int4>(domain, shared)?;
    let domain = match observer {
        Some(observer) => domain.add(NoUnwind(Observe(observer.clone())))?,
        None => domain,
    };
    domain
        .add(NoUnwind(Embedding::<Fp32>::default()))?
        .add(NoUnwind(Embedding::<Fp16>::default()))?
        .add(NoUnwind(Embedding::<Int8>::default()))?
        .add(NoUnwind(norm::Norm))?
        .add(NoUnwind(positions::SinusoidalPositions))?
        .add(NoUnwind(block_sums::BlockSums))?
        .add(NoUnwind(rotary::RotaryEmbedding))?
        .add(NoUnwind(SelfAttention))?
        .add(NoUnwind(PackCrossKv::<f32>::default()))?
        .add(NoUnwind(PackCrossKv::<f16>::default()))?
        .add(NoUnwind(PackCrossKv::<i8>::default()))?
        .add(NoUnwind(CrossAttention::<f32>::default()))?
        .add(NoUnwind(CrossAttention::<f16>::default()))?
        .add(NoUnwind(CrossAttention::<i8>::default()))?
        .add(NoUnwind(CachedAttention))
}
