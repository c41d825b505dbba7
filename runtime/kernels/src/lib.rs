//! The arithmetic of epitome's operators: products of activations with packed weights, attention,
//! norms and activation functions. It knows no ONNX Runtime.
//!
//! A result is the same bits whatever rows, documents or beams are computed beside it, and whatever
//! number of threads computes it. Integer products are exact, so they are the same on every
//! processor.
//!
//! | module | holds |
//! | --- | --- |
//! | [`cpu`] | what the processor can do, asked once |
//! | [`simd`] | choosing instructions at run time, vectors of sixteen floats, prefetching |
//! | [`parallel`] | sharing work among threads |
//! | [`panels`] | the layout of packed weights |
//! | [`linear`] | a linear layer and an embedding over any [weight format](linear::WeightFormat) |
//! | [`feed_forward`] | the linear layers between the attentions |
//! | [`experts`] | a mixture of several of them: experts |
//! | [`float`], [`int8`], [`int4`] | the weight formats |
//! | [`quantized_activations`] | activations rounded to integers, for `int8` and `int4` |
//! | [`activation`] | activation functions |
//! | [`norm`] | layer norm and RMS norm |
//! | [`sinusoid`] | positions that are computed |
//! | [`block_sums`] | sums of rows that belong together |
//! | [`rotary`] | queries and keys that are turned by their position |
//! | [`attention`] | self-attention, cross-attention and cached attention |

#[macro_use]
mod by_tile;

pub mod activation;
pub mod attention;
pub mod block_sums;
pub mod cpu;
pub mod experts;
pub mod feed_forward;
pub mod float;
pub mod int4;
pub mod int8;
pub mod linear;
pub mod norm;
pub mod panels;
pub mod parallel;
pub mod quantized_activations;
pub mod rotary;
pub mod simd;
pub mod sinusoid;
