//! Names of the inputs and outputs of the two graphs: what the exporter declares and the runtime
//! binds. Shapes are in the files' own doc strings.

/// int64 `[batch, source]` in the encoder, `[batch, beams]` in the decoder.
pub const INPUT_IDS: &str = "input_ids";
/// int32 `[batch, source]`, encoder.
pub const ATTENTION_MASK: &str = "attention_mask";
/// int32 `[batch, source]`, encoder of LED: 1 for a token with global attention.
pub const GLOBAL_ATTENTION_MASK: &str = "global_attention_mask";
/// float32 `[batch, source, hidden]`, encoder.
pub const LAST_HIDDEN_STATE: &str = "last_hidden_state";
/// int32 `[1]`, decoder: tokens in the cache before this step.
pub const PAST_LENGTH: &str = "past_length";
/// int32 `[batch, beams, max_length]`, decoder.
pub const CACHE_INDIRECTION: &str = "cache_indirection";
/// int32 `[batch, source]`, decoder.
pub const SOURCE_MASK: &str = "source_mask";
/// float32 `[batch * beams, vocab]`, decoder.
pub const LOGITS: &str = "logits";

/// float32, or float16 in bundles that are not fp32, `[batch, heads, padded source, head_size]`:
/// made by the encoder, read by the decoder, laid out by
/// [`PackCrossKv`](crate::operators::attention::PACK_CROSS_KV_FP32).
pub fn cross_key(layer: usize) -> String {
    format!("cross_key.{layer}")
}

/// `[batch, heads, padded source, row]`: made by the encoder, read by the decoder, likewise.
pub fn cross_value(layer: usize) -> String {
    format!("cross_value.{layer}")
}

/// float32 `[batch * beams, heads, max_length, head_size]`, decoder input.
pub fn past_key(layer: usize) -> String {
    format!("past_key.{layer}")
}

/// float32 `[batch * beams, heads, max_length, head_size]`, decoder input.
pub fn past_value(layer: usize) -> String {
    format!("past_value.{layer}")
}

/// The memory of [`past_key`], with the new token written into it.
pub fn present_key(layer: usize) -> String {
    format!("present_key.{layer}")
}

/// The memory of [`past_value`], with the new token written into it.
pub fn present_value(layer: usize) -> String {
    format!("present_value.{layer}")
}
