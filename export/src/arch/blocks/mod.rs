//! What architectures are composed of.
//!
//! Between blocks a value is two-dimensional, `[rows, hidden]`: rows are `batch * source` tokens in
//! the encoder and `batch * beams` in the decoder, so that every linear layer is one `Gemm` that
//! reads its weight as PyTorch stores it, `[out, in]`.

pub mod activation;
pub mod attention;
pub mod bart;
pub mod decoder_io;
pub mod embedding;
pub mod linear;
pub mod local_attention;
pub mod matrix;
pub mod norm;
pub mod plain_attention;
pub mod portable_io;
pub mod positions;
pub mod relative_bias;
pub mod t5;
pub mod transformer;
