//! optimum's names of the files, and of the inputs and outputs of both graphs.

/// The encoder graph.
pub(crate) const ENCODER: &str = "encoder_model.onnx";
/// The decoder graph.
pub(crate) const DECODER: &str = "decoder_model_merged.onnx";
/// The weights of both graphs.
pub(crate) const WEIGHTS: &str = "model.onnx_data";

/// int64 `[batch, source]` in the encoder, `[batch, tokens]` in the decoder.
pub(crate) const INPUT_IDS: &str = "input_ids";
/// int64 `[batch, source]`, encoder: 1 for a token, 0 for padding.
pub(crate) const ATTENTION_MASK: &str = "attention_mask";
/// int64 `[batch, source]`, encoder of LED: 1 for a token with global attention.
pub(crate) const GLOBAL_ATTENTION_MASK: &str = "global_attention_mask";
/// float32 `[batch, source, hidden]`, encoder.
pub(crate) const LAST_HIDDEN_STATE: &str = "last_hidden_state";
/// int64 `[batch, source]`, decoder: 1 for a source token, 0 for padding.
pub(crate) const ENCODER_ATTENTION_MASK: &str = "encoder_attention_mask";
/// float32 `[batch, source, hidden]`, decoder.
pub(crate) const ENCODER_HIDDEN_STATES: &str = "encoder_hidden_states";
/// bool `[1]`, decoder: whether the past keys and values are to be read.
pub(crate) const USE_CACHE_BRANCH: &str = "use_cache_branch";
/// float32 `[batch, tokens, vocab]`, decoder.
pub(crate) const LOGITS: &str = "logits";

/// A part of one layer's cache, float32 `[batch, heads, length, head_size]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
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
pub(crate) const PARTS: [Part; 4] = [Part::Key, Part::Value, Part::CrossKey, Part::CrossValue];

impl Part {
    /// Whether the part belongs to cross-attention.
    pub(crate) fn is_cross(self) -> bool {
        matches!(self, Self::CrossKey | Self::CrossValue)
    }

    /// Description of the part, for documentation.
    pub(crate) fn doc(self) -> &'static str {
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

/// Name of the decoder's input for a part of the cache.
pub(crate) fn past(layer: usize, part: Part) -> String {
    format!("past_key_values.{layer}.{}", part.name())
}

/// Name of the decoder's output for a part of the cache.
pub(crate) fn present(layer: usize, part: Part) -> String {
    format!("present.{layer}.{}", part.name())
}
