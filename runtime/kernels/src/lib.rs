//! The arithmetic of epitome's operators: products of activations with packed weights, attention,
//! norms and activation functions. The crate does not depend on ONNX Runtime.
//!
//! The bits of a result do not depend on the other rows, documents or beams that are computed with
//! it, nor on the number of threads. Integer products are exact, so they are the same on every
//! processor.
//!
//! | module | holds |
//! | --- | --- |
//! | [`cpu`] | features of the processor |
//! | [`simd`] | choice of instructions at run time, vectors of sixteen floats, prefetching |
//! | [`parallel`] | parallel loops over a thread pool |
//! | [`panels`] | the layout of packed weights |
//! | [`linear`] | a linear layer and an embedding over any [weight format](linear::WeightFormat) |
//! | [`feed_forward`] | the feed-forward block of a transformer layer |
//! | [`experts`] | a mixture of feed-forward blocks |
//! | [`float`], [`int8`], [`int4`] | the weight formats |
//! | `quantized_activations` | activations rounded to integers, for `int8` and `int4` |
//! | [`activation`] | activation functions |
//! | [`norm`] | layer norm and RMS norm |
//! | [`sinusoid`] | sinusoidal positions |
//! | [`block_sums`] | sums of the rows of each block of tokens |
//! | [`rotary`] | rotary position embedding |
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
mod quantized_activations;
pub mod rotary;
pub mod simd;
pub mod sinusoid;
