//! Building blocks of architectures.
//!
//! Values between blocks are two-dimensional, `[rows, hidden]`: the rows are `batch * source`
//! tokens in the encoder and `batch * beams` in the decoder. So every linear layer is one `Gemm`
//! that reads its weight as PyTorch stores it, `[out, in]`.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod embedding;
pub(crate) mod experts;
pub(crate) mod feed_forward;
pub(crate) mod fused_self_attention;
pub(crate) mod heads;
pub(crate) mod inputs;
pub(crate) mod io;
pub(crate) mod linear;
pub(crate) mod local_attention;
pub(crate) mod matrix;
pub(crate) mod norm;
pub(crate) mod output;
pub(crate) mod plain_attention;
pub(crate) mod positions;
pub(crate) mod predicting;
pub(crate) mod prompt;
pub(crate) mod relative_bias;
pub(crate) mod rotary;
pub(crate) mod streams;
pub(crate) mod transformer;
