//! Names of the inputs and outputs of the two graphs. The exporter declares them, and the runtime
//! binds them.

/// Token ids: int64 `[batch, source]` in the encoder, `[rows, 1]` in the decoder.
pub const INPUT_IDS: &str = "input_ids";
/// Encoder input, int32 `[batch, source]`: 0 for padding.
pub const ATTENTION_MASK: &str = "attention_mask";
/// Encoder input of LED, int32 `[batch, source]`: 1 for a token with global attention.
pub const GLOBAL_ATTENTION_MASK: &str = "global_attention_mask";
/// Encoder output, float32 `[batch, source, hidden]`.
pub const LAST_HIDDEN_STATE: &str = "last_hidden_state";
/// Decoder input, int32 `[rows, 1]`: number of cached tokens before the new token of each row.
pub const PAST_LENGTH: &str = "past_length";
/// Decoder input, int32 `[rows, max_length]`: the cache slot of each token of a row. The new token
/// is the last.
pub const CACHE_INDIRECTION: &str = "cache_indirection";
/// Decoder input, int32 `[documents, 3]`: for each document its number of rows, the first slot of
/// its cross-attention keys and values, and its number of source tokens. The rows of a document
/// follow those of the document before it.
pub const SOURCES: &str = "sources";
/// Decoder output, float32 `[rows, vocab]`.
pub const LOGITS: &str = "logits";

/// Packed cross-attention keys of a layer: float32 in fp32 bundles, float16 in fp16 bundles, int8
/// in others.
///
/// The encoder's output is `[batch, heads, padded source, row]`, in the layout of
/// [`PackCrossKv`](crate::operators::attention::PACK_CROSS_KV_FP32). The decoder's input has the
/// keys of all documents in one tensor `[1, heads, slots, row]`: each document's output is copied
/// to consecutive slots, from its first slot on.
pub fn cross_key(layer: usize) -> String {
    format!("cross_key.{layer}")
}

/// Packed cross-attention values of a layer, in the format of [`cross_key`]. Their rows are padded
/// to a multiple of 16.
pub fn cross_value(layer: usize) -> String {
    format!("cross_value.{layer}")
}

/// Decoder input: cached keys of a layer, float32 `[heads, slots, head_size]`.
pub fn past_key(layer: usize) -> String {
    format!("past_key.{layer}")
}

/// Decoder input: cached values of a layer, float32 `[heads, slots, head_size]`.
pub fn past_value(layer: usize) -> String {
    format!("past_value.{layer}")
}

/// Decoder output: [`past_key`] with the new tokens, bound to the same memory.
pub fn present_key(layer: usize) -> String {
    format!("present_key.{layer}")
}

/// Decoder output: [`past_value`] with the new tokens, bound to the same memory.
pub fn present_value(layer: usize) -> String {
    format!("present_value.{layer}")
}
