//! Attention: over the source in the encoder, over the cache and over the source in the decoder.
//!
//! Checkpoint names are those of transformers' BART family: `q_proj`, `k_proj`, `v_proj`, `out_proj`.

use super::decoder_io::{DecoderInputs, LayerCache};
use super::linear::linear;
use crate::arch::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// Added to the score of a padded position: the smallest finite float, since minus infinity makes a
/// fully masked row NaN.
const MASKED: f32 = f32::MIN;

/// The heads of an attention layer.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// How many.
    pub count: usize,
    /// Size of each.
    pub size: usize,
}

impl Heads {
    /// Size of all heads together.
    pub fn hidden(self) -> usize {
        self.count * self.size
    }

    fn square(self) -> (usize, usize) {
        (self.hidden(), self.hidden())
    }
}

/// What the encoder's attention knows of the batch.
pub struct EncoderBatch {
    /// int32 `[batch, source]`: 1 for a token, 0 for padding.
    pub mask: Value,
    /// The shape `[batch, source, hidden]`.
    pub shape: Value,
}

/// Bidirectional self-attention: `[batch * source, hidden]` to the same.
pub fn encoder_self_attention(
    b: &mut Builder<'_, '_>,
    name: &str,
    x: &Value,
    batch: &EncoderBatch,
    heads: Heads,
) -> Result<Value> {
    let mut project = |part: &str| -> Result<Value> {
        let rows = linear(b, &format!("{name}.{part}"), x, heads.square())?;
        Ok(b.graph
            .node("Reshape")
            .inputs([&rows, &batch.shape])
            .output())
    };
    let [query, key, value] = [project("q_proj")?, project("k_proj")?, project("v_proj")?];
    let attended = attend(b, [&query, &key, &value], &batch.mask, heads);
    linear(b, &format!("{name}.out_proj"), &attended, heads.square())
}

/// Keys and values of one decoder layer's cross-attention, computed once for each document:
/// `[batch * source, hidden]` to two of `[batch, heads, source, head_size]`.
pub fn cross_memory(
    b: &mut Builder<'_, '_>,
    name: &str,
    memory: &Value,
    split_shape: &Value,
    heads: Heads,
) -> Result<(Value, Value)> {
    let mut project = |part: &str| -> Result<Value> {
        let rows = linear(b, &format!("{name}.{part}"), memory, heads.square())?;
        let split = b
            .graph
            .node("Reshape")
            .inputs([&rows, split_shape])
            .output();
        Ok(b.graph
            .node("Transpose")
            .input(&split)
            .ints("perm", &[0, 2, 1, 3])
            .output())
    };
    Ok((project("k_proj")?, project("v_proj")?))
}

/// Causal self-attention of one new token a row, over a cache that is written in place and follows
/// the beams by index: `[batch * beams, hidden]` to the same.
pub fn cached_self_attention(
    b: &mut Builder<'_, '_>,
    name: &str,
    x: &Value,
    inputs: &DecoderInputs,
    cache: &mut LayerCache,
) -> Result<Value> {
    let heads = inputs.heads;
    let hidden = heads.hidden() as i64;
    let token_shape = b.graph.int64s(&[-1, 1, hidden]);
    let mut project = |part: &str| -> Result<Value> {
        let rows = linear(b, &format!("{name}.{part}"), x, heads.square())?;
        Ok(b.graph
            .node("Reshape")
            .inputs([&rows, &token_shape])
            .output())
    };
    let [query, key, value] = [project("q_proj")?, project("k_proj")?, project("v_proj")?];
    let node = b.graph.contrib("DecoderMaskedMultiHeadAttention");
    let [attended, present_key, present_value] = node
        .inputs([&query, &key, &value])
        .skip(2) // mask_index and attention_bias
        .inputs([&cache.past_key, &cache.past_value])
        .inputs([&inputs.past_length, &inputs.beam_width, &inputs.cache_indirection])
        .int("num_heads", heads.count as i64)
        .int("past_present_share_buffer", 1)
        .outputs();
    cache.present = Some((present_key, present_value));
    let attended = flatten(b, &attended, heads);
    linear(b, &format!("{name}.out_proj"), &attended, heads.square())
}

/// Attention over the source, shared by the beams of a document: beams stand where query positions
/// stand, so that its keys and values are there once. `[batch * beams, hidden]` to the same.
pub fn cross_attention(
    b: &mut Builder<'_, '_>,
    name: &str,
    x: &Value,
    inputs: &DecoderInputs,
    cache: &LayerCache,
) -> Result<Value> {
    let heads = inputs.heads;
    let query = linear(b, &format!("{name}.q_proj"), x, heads.square())?;
    let query = b
        .graph
        .node("Reshape")
        .inputs([&query, &inputs.beams_shape])
        .output();
    let attended = attend(
        b,
        [&query, &cache.cross_key, &cache.cross_value],
        &inputs.source_mask,
        heads,
    );
    linear(b, &format!("{name}.out_proj"), &attended, heads.square())
}

/// Scaled dot-product attention with a padding mask, flattened to `[rows, hidden]`.
fn attend(
    b: &mut Builder<'_, '_>,
    [query, key, value]: [&Value; 3],
    mask: &Value,
    heads: Heads,
) -> Value {
    let attended = b
        .graph
        .contrib("MultiHeadAttention")
        .inputs([query, key, value])
        .skip(1) // bias
        .input(mask)
        .int("num_heads", heads.count as i64)
        .float("mask_filter_value", MASKED)
        .output();
    flatten(b, &attended, heads)
}

fn flatten(b: &mut Builder<'_, '_>, x: &Value, heads: Heads) -> Value {
    let rows = b.graph.int64s(&[-1, heads.hidden() as i64]);
    b.graph.node("Reshape").inputs([x, &rows]).output()
}
