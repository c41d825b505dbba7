//! The operators of our own that the graphs of bundles use, in the domain [`DOMAIN`].
//!
//! ONNX Runtime's operators copy weights into a layout of their own when a model is loaded; those for
//! small weights round activations with one scale for all rows, or saturate on processors without dot
//! products. These read packed weights where `weights.bin` is mapped, give each row its own scale
//! where activations are rounded, and compute the same integers on every processor ([`int8`]): a bundle works anywhere.
//!
//! | operator | computes |
//! | --- | --- |
//! | [`Linear`](linear), one for each format | `activation(x · weightᵀ + bias)` |
//! | [`Embedding`](embedding), one for each format of tables | rows of a packed table |
//! | [`Norm`](norm::Norm) | a residual addition and the normalization behind it |
//! | [`SelfAttention`](attention::SelfAttention) | the encoder's attention |
//! | [`CrossMemory`](attention::CROSS_MEMORY), in float32 and in float16 | keys or values of the decoder's cross-attention, once a document |
//! | [`CrossAttention`](attention::CROSS_ATTENTION), likewise | the beams' attention over them |
//! | [`CacheAttention`](attention::CacheAttention) | the decoder's attention over what it generated |
//!
//! Weights are cut into [`panels`]; what a panel holds is the format's: [`float`], [`int8`], [`int4`].
//! A new format is a module here, its lines in [`domain`], and a packing in `epitome-export`.

/// Calls an AArch64 kernel made for a way to add products and for the tile's rows, which must be among those listed.
#[cfg(target_arch = "aarch64")]
macro_rules! by_rows {
    ($kernel:ident::<$way:ident>($tile:ident, $to:ident); $($rows:literal)*) => {
        match $tile.rows {
            $($rows => $kernel::<$way, $rows>($tile, $to),)*
            other => panic!("a tile of {other} rows"),
        }
    };
}

pub mod activation;
pub mod attention;
pub mod embedding;
pub mod float;
pub mod int4;
pub mod int8;
pub mod linear;
pub mod norm;
pub mod panels;
mod parallel;
pub mod registration;
pub mod rows;

use half::f16;
use ort::operator::OperatorDomain;

use self::embedding::Embedding;
use self::float::{Fp16, Fp32};
use self::int4::Int4;
use self::int8::Int8;
use self::linear::Linear;

/// The domain of the operators.
pub const DOMAIN: &str = "epitome";

/// Every operator, to be registered with a session.
pub fn domain() -> ort::Result<OperatorDomain> {
    OperatorDomain::new(DOMAIN)?
        .add(Linear::<Int8>::default())?
        .add(Embedding::<Int8>::default())?
        .add(Linear::<Fp32>::default())?
        .add(Embedding::<Fp32>::default())?
        .add(Linear::<Fp16>::default())?
        .add(Embedding::<Fp16>::default())?
        .add(Linear::<Int4>::default())?
        .add(norm::Norm)?
        .add(attention::CrossMemory::<f32>::default())?
        .add(attention::CrossAttention::<f32>::default())?
        .add(attention::CrossMemory::<f16>::default())?
        .add(attention::CrossAttention::<f16>::default())?
        .add(attention::SelfAttention)?
        .add(attention::CacheAttention)
}

/// The tensor of a required input.
fn input<T>(
    context: &ort::operator::ComputeContext,
    index: usize,
) -> ort::Result<(Vec<usize>, &[T])>
where
    T: ort::value::PrimitiveTensorElementType,
{
    optional_input(context, index)?
        .ok_or_else(|| ort::Error::new(format!("input {index} is missing")))
}

/// The tensor of an input that may be left out.
#[allow(clippy::type_complexity, reason = "a shape and its elements")]
fn optional_input<T>(
    context: &ort::operator::ComputeContext,
    index: usize,
) -> ort::Result<Option<(Vec<usize>, &[T])>>
where
    T: ort::value::PrimitiveTensorElementType,
{
    if index >= context.num_inputs()? {
        return Ok(None);
    }
    let Some(value) = context.input(index)? else {
        return Ok(None);
    };
    let (shape, elements) = value.try_extract_tensor::<T>()?;
    let shape = shape.iter().map(|&dim| dim as usize).collect();
    // SAFETY: the elements belong to ONNX Runtime, which keeps an operator's inputs for as long as
    // the operator runs, and that is for as long as there is a context.
    let elements = unsafe { std::slice::from_raw_parts(elements.as_ptr(), elements.len()) };
    Ok(Some((shape, elements)))
}
