//! The portable layout: what optimum writes, so that what reads optimum's exports reads ours.
//!
//! | file | holds |
//! | --- | --- |
//! | `encoder_model.onnx` | source tokens to hidden states |
//! | `decoder_model_merged.onnx` | new tokens to logits, with a cache or without |
//! | `model.onnx_data` | the weights of both, each stored once |
//!
//! and beside them the checkpoint's own configuration and tokenizer.

mod companions;
mod sessions;
mod verify;

pub(crate) use companions::copy;
pub use sessions::{Cache, Floats, Sessions, Source};
pub(crate) use verify::verify;

/// The encoder graph.
pub const ENCODER: &str = "encoder_model.onnx";
/// The decoder graph.
pub const DECODER: &str = "decoder_model_merged.onnx";
/// The weights of both graphs.
pub const WEIGHTS: &str = "model.onnx_data";

/// Names of the inputs and outputs of the two graphs.
pub mod io {
    /// int64 `[batch, source]` in the encoder, `[batch, tokens]` in the decoder.
    pub const INPUT_IDS: &str = "input_ids";
    /// int64 `[batch, source]`, encoder: 1 for a token, 0 for padding.
    pub const ATTENTION_MASK: &str = "attention_mask";
    /// float32 `[batch, source, hidden]`, encoder.
    pub const LAST_HIDDEN_STATE: &str = "last_hidden_state";
    /// int64 `[batch, source]`, decoder: 1 for a source token, 0 for padding.
    pub const ENCODER_ATTENTION_MASK: &str = "encoder_attention_mask";
    /// float32 `[batch, source, hidden]`, decoder.
    pub const ENCODER_HIDDEN_STATES: &str = "encoder_hidden_states";
    /// bool `[1]`, decoder: whether the past keys and values are to be read.
    pub const USE_CACHE_BRANCH: &str = "use_cache_branch";
    /// float32 `[batch, tokens, vocab]`, decoder.
    pub const LOGITS: &str = "logits";

    /// A part of one layer's cache, float32 `[batch, heads, length, head_size]`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Part {
        /// Keys of self-attention.
        Key,
        /// Values of self-attention.
        Value,
        /// Keys of cross-attention.
        CrossKey,
        /// Values of cross-attention.
        CrossValue,
    }

    /// Every part, in optimum's order.
    pub const PARTS: [Part; 4] = [Part::Key, Part::Value, Part::CrossKey, Part::CrossValue];

    impl Part {
        /// Whether it belongs to cross-attention.
        pub fn is_cross(self) -> bool {
            matches!(self, Self::CrossKey | Self::CrossValue)
        }

        /// What it is, for documentation.
        pub fn doc(self) -> &'static str {
            match self {
                Self::Key => "keys of self-attention",
                Self::Value => "values of self-attention",
                Self::CrossKey => "keys of cross-attention",
                Self::CrossValue => "values of cross-attention",
            }
        }

        fn name(self) -> &'static str {
            match self {
                Self::Key => "decoder.key",
                Self::Value => "decoder.value",
                Self::CrossKey => "encoder.key",
                Self::CrossValue => "encoder.value",
            }
        }
    }

    /// The decoder's input for a part of the cache.
    pub fn past(layer: usize, part: Part) -> String {
        format!("past_key_values.{layer}.{}", part.name())
    }

    /// The decoder's output for it.
    pub fn present(layer: usize, part: Part) -> String {
        format!("present.{layer}.{}", part.name())
    }
}
