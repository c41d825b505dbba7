//! Names of the inputs and outputs of the two graphs: what the exporter declares and the runtime
//! binds. Shapes are in the files' own doc strings.

/// int64 `[batch, source]` in the encoder, `[rows, 1]` in the decoder.
pub const INPUT_IDS: &str = "input_ids";
/// int32 `[batch, source]`, encoder.
pub const ATTENTION_MASK: &str = "attention_mask";
/// int32 `[batch, source]`, encoder of LED: 1 for a token with global attention.
pub const GLOBAL_ATTENTION_MASK: &str = "global_attention_mask";
/// float32 `[batch, source, hidden]`, encoder.
pub const LAST_HIDDEN_STATE: &str = "last_hidden_state";
/// int32 `[rows, 1]`, decoder: tokens in the cache before the new one of each row.
pub const PAST_LENGTH: &str = "past_length";
/// int32 `[rows, room]`, decoder: the place in the cache of each token of a row's history, the new
/// one's behind the others.
pub const CACHE_INDIRECTION: &str = "cache_indirection";
/// int32 `[documents, 3]`, decoder: for each document the rows that it has, which follow each
/// other, the first place of its cross-attention keys and values, and its source tokens.
pub const SOURCES: &str = "sources";
/// float32 `[rows, vocab]`, decoder.
pub const LOGITS: &str = "logits";

/// float32 in fp32 bundles, float16 in fp16 and int8 in others, `[batch, heads, padded source,
/// row]`: made by the encoder, laid out by
/// [`PackCrossKv`](crate::operators::attention::PACK_CROSS_KV_FP32). The decoder reads those of
/// several documents in one tensor, `[1, heads, places, row]`, each as it was made from its first
/// place on.
pub fn cross_key(layer: usize) -> String {
    format!("cross_key.{layer}")
}

/// The same of values, whose rows are longer where a head's size is no multiple of 16.
pub fn cross_value(layer: usize) -> String {
    format!("cross_value.{layer}")
}

/// float32 `[heads, places, head_size]`, decoder input.
pub fn past_key(layer: usize) -> String {
    format!("past_key.{layer}")
}

/// float32 `[heads, places, head_size]`, decoder input.
pub fn past_value(layer: usize) -> String {
    format!("past_value.{layer}")
}

/// The memory of [`past_key`], with the new tokens written into it.
pub fn present_key(layer: usize) -> String {
    format!("present_key.{layer}")
}

/// The memory of [`past_value`], with the new tokens written into it.
pub fn present_value(layer: usize) -> String {
    format!("present_value.{layer}")
}
