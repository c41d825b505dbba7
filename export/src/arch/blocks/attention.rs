//! Attention: over the source in the encoder, over the cache and over the source in the decoder.

use super::decoder_io::{DecoderInputs, EncoderInputs, LayerCache};
use super::linear::linear;
use crate::arch::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// Added to the score of a padded position: the smallest finite float, since minus infinity makes a
/// fully masked row NaN.
pub const MASKED: f32 = f32::MIN;

/// The heads of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// Checkpoint names of the four linear layers of an attention, below the name of the attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projections {
    /// Queries.
    pub query: &'static str,
    /// Keys.
    pub key: &'static str,
    /// Values.
    pub value: &'static str,
    /// From the heads back to the model's hidden size.
    pub output: &'static str,
}

impl Projections {
    /// Those of transformers' BART family.
    pub const BART: Self = Self {
        query: "q_proj",
        key: "k_proj",
        value: "v_proj",
        output: "out_proj",
    };
    /// Those of transformers' T5 family.
    pub const T5: Self = Self {
        query: "q",
        key: "k",
        value: "v",
        output: "o",
    };
}

/// An attention layer: its sizes, the names of its weights and what scores are multiplied with.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Its heads.
    pub heads: Heads,
    /// Size of the hidden states it reads and writes, which need not be that of its heads.
    pub hidden: usize,
    /// Names of its weights.
    pub names: Projections,
    /// What scores are multiplied with; `1 / sqrt(head_size)` where it says nothing.
    pub scale: Option<f32>,
}

impl Attention {
    /// Bidirectional self-attention: `[batch * source, hidden]` to the same. `bias`, which is
    /// `[1, heads, source, source]`, is added to the scores.
    pub fn over_source(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        inputs: &EncoderInputs,
        bias: Option<&Value>,
    ) -> Result<Value> {
        let names = self.names;
        let mut project = |part: &str| -> Result<Value> {
            let rows = self.into_heads(b, name, part, x)?;
            let shape = inputs.with_size(b, self.heads.hidden());
            Ok(b.graph.node("Reshape").inputs([&rows, &shape]).output())
        };
        let [query, key, value] = [
            project(names.query)?,
            project(names.key)?,
            project(names.value)?,
        ];
        let attended = self.attend(b, [&query, &key, &value], &inputs.mask, bias);
        self.out_of_heads(b, name, &attended)
    }

    /// Keys and values of one decoder layer's cross-attention, computed once for each document:
    /// `[batch * source, hidden]` to two of `[batch, heads, source, head_size]`.
    pub fn memory(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        hidden_states: &Value,
        inputs: &EncoderInputs,
    ) -> Result<(Value, Value)> {
        let names = self.names;
        let mut project = |part: &str| -> Result<Value> {
            let rows = self.into_heads(b, name, part, hidden_states)?;
            Ok(split_heads(b, &rows, inputs, self.heads))
        };
        Ok((project(names.key)?, project(names.value)?))
    }

    /// Causal self-attention of one new token a row, over a cache that is written in place and
    /// follows the beams by index: `[batch * beams, hidden]` to the same.
    pub fn over_cache(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        inputs: &DecoderInputs,
        cache: &mut LayerCache,
    ) -> Result<Value> {
        let names = self.names;
        let token_shape = b.graph.int64s(&[-1, 1, self.heads.hidden() as i64]);
        let mut project = |part: &str| -> Result<Value> {
            let rows = self.into_heads(b, name, part, x)?;
            Ok(b.graph
                .node("Reshape")
                .inputs([&rows, &token_shape])
                .output())
        };
        let [query, key, value] = [
            project(names.query)?,
            project(names.key)?,
            project(names.value)?,
        ];
        let mut node = b
            .graph
            .contrib("DecoderMaskedMultiHeadAttention")
            .inputs([&query, &key, &value])
            .skip(1) // mask_index
            .optional(cache.bias.as_ref())
            .inputs([&cache.past_key, &cache.past_value])
            .inputs([
                &inputs.past_length,
                &inputs.beam_width,
                &inputs.cache_indirection,
            ])
            .int("num_heads", self.heads.count as i64)
            .int("past_present_share_buffer", 1);
        if let Some(scale) = self.scale {
            node = node.float("scale", scale);
        }
        let [attended, present_key, present_value] = node.outputs();
        cache.present = Some((present_key, present_value));
        let attended = rows(b, &attended, self.heads.hidden());
        self.out_of_heads(b, name, &attended)
    }

    /// Attention over the source, shared by the beams of a document: beams stand where query
    /// positions stand, so that its keys and values are there once. `[batch * beams, hidden]` to
    /// the same.
    pub fn over_memory(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        inputs: &DecoderInputs,
        cache: &LayerCache,
    ) -> Result<Value> {
        let query = self.into_heads(b, name, self.names.query, x)?;
        let query = b
            .graph
            .node("Reshape")
            .inputs([&query, &inputs.beams_shape])
            .output();
        let memory = [&query, &cache.cross_key, &cache.cross_value];
        let attended = self.attend(b, memory, &inputs.source_mask, None);
        self.out_of_heads(b, name, &attended)
    }

    /// Scaled dot-product attention with a padding mask, flattened to `[rows, heads * head_size]`.
    fn attend(
        &self,
        b: &mut Builder<'_, '_>,
        [query, key, value]: [&Value; 3],
        mask: &Value,
        bias: Option<&Value>,
    ) -> Value {
        let mut node = b
            .graph
            .contrib("MultiHeadAttention")
            .inputs([query, key, value])
            .skip(1) // bias of the projections
            .input(mask)
            .int("num_heads", self.heads.count as i64)
            .float("mask_filter_value", MASKED);
        if let Some(bias) = bias {
            node = node.input(bias);
        }
        if let Some(scale) = self.scale {
            node = node.float("scale", scale);
        }
        let attended = node.output();
        rows(b, &attended, self.heads.hidden())
    }

    /// The projection `part`: `[rows, hidden]` to `[rows, heads * head_size]`.
    pub fn into_heads(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        part: &str,
        x: &Value,
    ) -> Result<Value> {
        let sizes = (self.hidden, self.heads.hidden());
        linear(b, &format!("{name}.{part}"), x, sizes)
    }

    /// The output projection: `[rows, heads * head_size]` to `[rows, hidden]`.
    pub fn out_of_heads(&self, b: &mut Builder<'_, '_>, name: &str, x: &Value) -> Result<Value> {
        let sizes = (self.heads.hidden(), self.hidden);
        linear(b, &format!("{name}.{}", self.names.output), x, sizes)
    }

    /// What scores are multiplied with.
    pub fn score_scale(&self) -> f32 {
        self.scale
            .unwrap_or_else(|| (self.heads.size as f32).sqrt().recip())
    }
}

/// `[batch * source, heads * head_size]` to `[batch, heads, source, head_size]`.
pub fn split_heads(
    b: &mut Builder<'_, '_>,
    x: &Value,
    inputs: &EncoderInputs,
    heads: Heads,
) -> Value {
    let shape = inputs.with_heads(b, heads);
    let split = b.graph.node("Reshape").inputs([x, &shape]).output();
    b.graph
        .node("Transpose")
        .input(&split)
        .ints("perm", &[0, 2, 1, 3])
        .output()
}

/// Flattens all dimensions but the last, of size `hidden`.
pub fn rows(b: &mut Builder<'_, '_>, x: &Value, hidden: usize) -> Value {
    let shape = b.graph.int64s(&[-1, hidden as i64]);
    b.graph.node("Reshape").inputs([x, &shape]).output()
}
