//! The custom operators of the graphs of bundles, in the domain [`DOMAIN`].
//!
//! ONNX Runtime's operators copy weights to a layout of their own when a model is loaded. Its
//! operators for quantized weights quantize activations with one scale for all rows, or saturate on
//! processors without dot products. The operators here read packed weights directly from the mapped
//! `weights.bin`, quantize each row of activations with its own scale, and compute the same
//! integers on every processor.
//!
//! | operator | computes |
//! | --- | --- |
//! | [`Linear`](linear), one for each weight format | `activation(x · weightsᵀ + bias)` |
//! | [`FeedForward`](feed_forward), one for each weight format | a feed-forward network |
//! | [`Experts`](experts), one for each weight format | a mixture of experts |
//! | [`Embedding`](embedding), one for each format of tables | rows of a packed table |
//! | [`Norm`](norm) | a residual addition, and layer norm or RMS norm |
//! | [`BlockSums`](block_sums) | sums of the tokens of each block |
//! | [`SinusoidalPositions`](positions) | sinusoidal position embeddings |
//! | [`RotaryEmbedding`](rotary) | rotary position embeddings of queries and keys |
//! | [`Observe`](observe) | its input, which it passes to an observer |
//! | [`attention`] | self-attention, cross-attention and cached attention |
//!
//! An operator declares its inputs, checks them, and calls [`epitome_kernels`]. A new weight format
//! needs a module there, names in [`linear`], a line in `domain`, and a packing in
//! `epitome-export`.

pub mod attention;
pub mod block_sums;
pub mod embedding;
pub mod experts;
pub mod feed_forward;
#[cfg(test)]
mod hostile;
pub mod linear;
mod no_unwind;
pub mod norm;
pub mod observe;
pub mod positions;
pub mod registration;
pub mod rotary;
mod scratch_buffers;
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
use self::no_unwind::NoUnwind;
use self::observe::{ActivationObserver, Observe};
use self::scratch_buffers::{ScratchBuffers, SharedBuffers};

/// Name of the operators' domain.
pub const DOMAIN: &str = "epitome";

/// Adds the operators of a weight format. They share scratch memory.
fn add_layers<F: LinearFormat>(
    domain: OperatorDomain,
    shared: &SharedBuffers,
) -> ort::Result<OperatorDomain> {
    let scratch = ScratchBuffers::<F>::new(shared);
    domain
        .add(NoUnwind(Linear(scratch.clone())))?
        .add(NoUnwind(FeedForward(scratch.clone())))?
        .add(NoUnwind(Experts(scratch)))
}

/// The domain with all operators, to register with a session. It has [`observe`] if there is an
/// observer.
pub(crate) fn domain(
    observer: Option<&Arc<dyn ActivationObserver>>,
) -> ort::Result<OperatorDomain> {
    let shared = &SharedBuffers::default();
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
