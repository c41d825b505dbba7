//! The portable layout: that of optimum, so that readers of optimum's exports read it.
//!
//! | file | holds |
//! | --- | --- |
//! | `encoder_model.onnx` | source tokens to hidden states |
//! | `decoder_model_merged.onnx` | new tokens to logits, with a cache or without |
//! | `model.onnx_data` | the weights of both, each stored once |
//!
//! and beside them the checkpoint's own configuration and tokenizer.

mod companions;
pub(crate) mod names;
mod sessions;
mod verify;

pub(crate) use companions::copy;
pub use sessions::{Cache, Floats, Sessions, Source};
pub(crate) use verify::verify;
