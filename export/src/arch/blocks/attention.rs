//! Attention: over the source in the encoder, over the cache and over the source in the decoder.

use epitome_runtime::operators::attention;

use super::fused_self_attention::{Seen, fused};
use super::heads::{Heads, split_heads};
use super::inputs::{DecoderInputs, EncoderInputs, LayerCache, Past, Recomputed, Window};
use super::linear::linear;
use super::plain_attention;
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// Checkpoint names of the four linear layers of an attention, below the name of the attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Projections {
    /// Queries.
    pub(crate) query: &'static str,
    /// Keys.
    pub(crate) key: &'static str,
    /// Values.
    pub(crate) value: &'static str,
    /// From the heads back to the model's hidden size.
    pub(crate) output: &'static str,
}

impl Projections {
    /// Those of transformers' BART family.
    pub(crate) const BART: Self =
        Self { query: "q_proj", key: "k_proj", value: "v_proj", output: "out_proj" };
    /// Those of transformers' T5 family.
    pub(crate) const T5: Self = Self { query: "q", key: "k", value: "v", output: "o" };
}

/// An attention layer: its sizes, the names of its weights and what scores are multiplied with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention {
    /// Its heads.
    pub(crate) heads: Heads,
    /// Size of the hidden states it reads and writes, which need not be that of its heads.
    pub(crate) hidden: usize,
    /// Names of its weights.
    pub(crate) names: Projections,
    /// What scores are multiplied with; `1 / sqrt(head_size)` where it says nothing.
    pub(crate) scale: Option<f32>,
}

impl Attention {
    /// Self-attention in which every token sees all others: `[batch * source, hidden]` to the same.
    /// `bias` is added to the scores: `[heads, distances]`, or `[1, heads, source, source]` in the
    /// portable layout.
    pub(crate) fn encoder_self_attention(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        inputs: &EncoderInputs,
        bias: Option<&Value>,
    ) -> Result<Value> {
        if !b.is_portable() {
            let seen = Seen { bias, ..Seen::all(&inputs.mask) };
            return self.fused_encoder_self_attention(b, (name, x), &seen);
        }
        let parts =
            self.qkv(b, name, x, |b, rows| split_heads(b, rows, &inputs.shape, self.heads))?;
        let mask = inputs.score_mask(b);
        let added: Vec<_> = bias.into_iter().chain([&mask]).collect();
        let attended = self.attend(b, &parts, &added);
        self.project_back(b, name, &attended)
    }

    /// Self-attention of tokens that see what `seen` says: `[batch * source, hidden]` to the same.
    pub(crate) fn fused_encoder_self_attention(
        &self,
        b: &mut Builder<'_, '_>,
        (name, x): (&str, &Value),
        seen: &Seen<'_>,
    ) -> Result<Value> {
        let parts = self.qkv(b, name, x, |_, rows| rows.clone())?;
        let attended = self.fused(b, parts.each_ref(), seen);
        self.project_back(b, name, &attended)
    }

    /// [`fused`] over queries, keys and values.
    pub(crate) fn fused(
        &self,
        b: &mut Builder<'_, '_>,
        parts: [&Value; 3],
        seen: &Seen<'_>,
    ) -> Value {
        fused(b, (self.heads, self.score_scale()), parts, seen)
    }

    /// Keys and values of one decoder layer's cross-attention, computed once for each document:
    /// `[batch * source, size]` to two of `[batch, heads, source, head_size]`, or what
    /// [`attention::PACK_CROSS_KV_FP32`] makes of them; `shape` is int64 `[batch, source]`.
    pub(crate) fn cross_kv(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        (hidden_states, size): (&Value, usize),
        shape: &Value,
    ) -> Result<(Value, Value)> {
        let names = self.names;
        let mut project = |part: &str, packed: &str| -> Result<Value> {
            let sizes = (size, self.heads.hidden());
            let rows = linear(b, &format!("{name}.{part}"), hidden_states, sizes)?;
            if b.is_portable() {
                return Ok(split_heads(b, &rows, shape, self.heads));
            }
            let operator = b.cross_kv().packing;
            Ok(b.graph
                .custom(operator)
                .inputs([&rows, shape])
                .int(attention::HEADS, self.heads.count as i64)
                .string(attention::PART, packed)
                .output())
        };
        Ok((project(names.key, attention::KEYS)?, project(names.value, attention::VALUES)?))
    }

    /// Causal self-attention of the new tokens over the cache and themselves: rows of `[rows,
    /// hidden]` to the same.
    pub(crate) fn self_attention(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        inputs: &DecoderInputs,
        cache: &mut LayerCache,
    ) -> Result<Value> {
        let attended = match &inputs.past {
            Past::InPlace { cache_indirection } => {
                self.fused_self_attention(b, (name, x), (inputs, cache_indirection), cache)?
            }
            Past::Given { window, source } => {
                self.appended(b, (name, x), (inputs, window, source), cache)?
            }
        };
        self.project_back(b, name, &attended)
    }

    /// One new token of each row, over a cache that is written in place.
    fn fused_self_attention(
        &self,
        b: &mut Builder<'_, '_>,
        (name, x): (&str, &Value),
        (inputs, cache_indirection): (&DecoderInputs, &Value),
        cache: &mut LayerCache,
    ) -> Result<Value> {
        let parts = self.qkv(b, name, x, |_, rows| rows.clone())?;
        let [attended, key, value] = b
            .graph
            .custom(attention::CACHED_ATTENTION)
            .inputs(&parts)
            .inputs([&cache.past_key, &cache.past_value, &inputs.past_length, cache_indirection])
            .optional(cache.bias.as_ref())
            .int(attention::HEADS, self.heads.count as i64)
            .float(attention::SCALE, self.score_scale())
            .outputs();
        cache.present = Some((key, value));
        Ok(attended)
    }

    /// Several new tokens a row, behind those in the cache.
    fn appended(
        &self,
        b: &mut Builder<'_, '_>,
        (name, x): (&str, &Value),
        (inputs, window, source): (&DecoderInputs, &Window, &Recomputed),
        cache: &mut LayerCache,
    ) -> Result<Value> {
        let [query, key, value] =
            self.qkv(b, name, x, |b, rows| split_heads(b, rows, &inputs.shape, self.heads))?;
        let [key, value] = append(b, source, cache, [key, value]);
        let unseen = window.unseen(b);
        let added: Vec<_> = cache.bias.iter().chain([&unseen]).collect();
        Ok(self.attend(b, &[query, key, value], &added))
    }

    /// Attention over the source, shared by the rows of a document (its beams, or its new tokens):
    /// they stand where query positions stand, so that its keys and values are there once.
    /// Rows of `[rows, hidden]` to the same.
    pub(crate) fn cross_attention(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        inputs: &DecoderInputs,
        cache: &mut LayerCache,
    ) -> Result<Value> {
        let query = self.project(b, name, self.names.query, x)?;
        let attended = match &inputs.past {
            Past::Given { source, .. } => {
                let query = split_heads(b, &query, &inputs.shape, self.heads);
                // What the cache holds is used as it stands; a branch that handed it on would copy
                // it.
                let outside = b.graph.begin_branch("cached");
                let memory = [query, cache.cross_key.clone(), cache.cross_value.clone()];
                let attended = self.attend(b, &memory, &[&inputs.source]);
                let nothing = b.graph.no_floats(&[0, self.heads.count, 1, self.heads.size]);
                let cached = [attended, nothing.clone(), nothing];
                let cached = b.graph.end_branch(outside, &cached);

                let outside = b.graph.begin_branch("first");
                let projected = (&source.projected(b)?, source.memory.projected_size());
                let (key, value) = self.cross_kv(b, name, projected, &source.shape)?;
                let [query, _, _] = memory;
                let memory = [query, key.clone(), value.clone()];
                let attended = self.attend(b, &memory, &[&inputs.source]);
                let first = b.graph.end_branch(outside, &[attended, key, value]);
                let node = b.graph.node("If").input(&source.use_cache);
                let [attended, key, value] =
                    node.branch("then_branch", cached).branch("else_branch", first).outputs();
                cache.cross_present = Some((key, value));
                attended
            }
            _ => {
                let operator = b.cross_kv().attention;
                b.graph
                    .custom(operator)
                    .inputs([&query, &cache.cross_key, &cache.cross_value])
                    .input(&inputs.source)
                    .int(attention::HEADS, self.heads.count as i64)
                    .float(attention::SCALE, self.score_scale())
                    .output()
            }
        };
        self.project_back(b, name, &attended)
    }

    /// Queries, keys and values of `x`, `[rows, heads * head_size]` each before `arrange`.
    pub(crate) fn qkv(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        mut arrange: impl FnMut(&mut Builder<'_, '_>, &Value) -> Value,
    ) -> Result<[Value; 3]> {
        let mut project = |part: &str| -> Result<Value> {
            let rows = self.project(b, name, part, x)?;
            Ok(arrange(b, &rows))
        };
        let names = self.names;
        Ok([project(names.query)?, project(names.key)?, project(names.value)?])
    }

    /// Attention in standard operators; `added` goes to the scores.
    fn attend(
        &self,
        b: &mut Builder<'_, '_>,
        [query, key, value]: &[Value; 3],
        added: &[&Value],
    ) -> Value {
        let query = match self.score_scale() {
            1.0 => query.clone(),
            scale => {
                let scale = b.graph.scalar(scale);
                b.graph.node("Mul").inputs([query, &scale]).output()
            }
        };
        plain_attention::attend(b, [&query, key, value], added, self.heads)
    }

    /// The projection `part`: `[rows, hidden]` to `[rows, heads * head_size]`.
    pub(crate) fn project(
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
    pub(crate) fn project_back(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
    ) -> Result<Value> {
        let sizes = (self.heads.hidden(), self.hidden);
        linear(b, &format!("{name}.{}", self.names.output), x, sizes)
    }

    /// What scores are multiplied with.
    pub(crate) fn score_scale(&self) -> f32 {
        self.scale.unwrap_or_else(|| (self.heads.size as f32).sqrt().recip())
    }
}

/// Puts the new keys and values of one layer behind those in its cache, where there is one, and
/// leaves in the cache what is to be handed back, which is the same: all of them, `[batch, heads,
/// past_length + columns, head_size]`.
fn append(
    b: &mut Builder<'_, '_>,
    source: &Recomputed,
    cache: &mut LayerCache,
    new: [Value; 2],
) -> [Value; 2] {
    let graph = &mut b.graph;
    let outside = graph.begin_branch("cached");
    let past = [&cache.past_key, &cache.past_value];
    let mut behind = |(past, new): (&Value, &Value)| {
        let node = graph.node("Concat").inputs([past, new]);
        node.int("axis", 2).output()
    };
    let all: Vec<_> = past.into_iter().zip(&new).map(&mut behind).collect();
    let cached = graph.end_branch(outside, &all);
    let outside = graph.begin_branch("first");
    let first = graph.end_branch(outside, &new);
    let node = graph.node("If").input(&source.use_cache);
    let all: [Value; 2] = node.branch("then_branch", cached).branch("else_branch", first).outputs();
    let [key, value] = all.clone();
    cache.present = Some((key, value));
    all
}
