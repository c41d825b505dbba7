//! Attention: over the source in the encoder, over the cache and over the source in the decoder.

use epitome_runtime::operators::attention;

use super::decoder_io::{
    DecoderInputs, EncoderInputs, LayerCache, Past, Recomputed, Window, append,
};
use super::linear::linear;
use super::plain_attention;
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
        let attended = if b.is_portable() {
            let parts = self.project(b, name, x, |b, rows| {
                split_heads(b, rows, &inputs.shape, self.heads)
            })?;
            let mask = inputs.score_mask(b);
            let added: Vec<_> = bias.into_iter().chain([&mask]).collect();
            self.attend_plainly(b, &parts, &added)
        } else {
            let parts = self.project(b, name, x, |_, rows| rows.clone())?;
            let node = b
                .graph
                .own(attention::SELF_ATTENTION)
                .inputs(&parts)
                .input(&inputs.mask)
                .optional(bias)
                .int(attention::HEADS, self.heads.count as i64)
                .float(attention::SCALE, self.score_scale());
            match b.weights.precision().splits_attention() {
                true => node.int(attention::SPLIT, 1).output(),
                false => node.output(),
            }
        };
        self.out_of_heads(b, name, &attended)
    }

    /// Keys and values of one decoder layer's cross-attention, computed once for each document:
    /// `[batch * source, hidden]` to two of `[batch, heads, source, head_size]`, or what
    /// [`attention::CROSS_MEMORY`] makes of them; `shape` is int64 `[batch, source]`.
    pub fn memory(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        hidden_states: &Value,
        shape: &Value,
    ) -> Result<(Value, Value)> {
        let names = self.names;
        let mut project = |part: &str, packed: &str| -> Result<Value> {
            let rows = self.into_heads(b, name, part, hidden_states)?;
            if b.is_portable() {
                return Ok(split_heads(b, &rows, shape, self.heads));
            }
            let operator = b.memory().packing;
            Ok(b.graph
                .own(operator)
                .inputs([&rows, shape])
                .int(attention::HEADS, self.heads.count as i64)
                .string(attention::PART, packed)
                .output())
        };
        Ok((
            project(names.key, attention::KEYS)?,
            project(names.value, attention::VALUES)?,
        ))
    }

    /// Causal self-attention of the new tokens over the cache and themselves: rows of `[rows, hidden]`
    /// to the same.
    pub fn over_cache(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        inputs: &DecoderInputs,
        cache: &mut LayerCache,
    ) -> Result<Value> {
        let attended = match &inputs.past {
            Past::InPlace { .. } | Past::Buffered { .. } => {
                self.over_history(b, (name, x), inputs, cache)?
            }
            Past::Given { window, source } => {
                self.appended(b, (name, x), (inputs, window, source), cache)?
            }
        };
        self.out_of_heads(b, name, &attended)
    }

    /// One new token of each beam or several of a row, in an operator that computes the same bits for
    /// either.
    fn over_history(
        &self,
        b: &mut Builder<'_, '_>,
        (name, x): (&str, &Value),
        inputs: &DecoderInputs,
        cache: &mut LayerCache,
    ) -> Result<Value> {
        let parts = self.project(b, name, x, |_, rows| rows.clone())?;
        let node = b
            .graph
            .own(attention::CACHE_ATTENTION)
            .inputs(&parts)
            .inputs([&cache.past_key, &cache.past_value, &inputs.past_length])
            .optional(cache.bias.as_ref())
            .int(attention::HEADS, self.heads.count as i64)
            .float(attention::SCALE, self.score_scale());
        if let Past::InPlace {
            cache_indirection, ..
        } = &inputs.past
        {
            let [attended, key, value] = node.input(cache_indirection).outputs();
            cache.present = Some((key, value));
            return Ok(attended);
        }
        let attended = node.output();
        let [_, key, value] = parts.map(|rows| split_heads(b, &rows, &inputs.shape, self.heads));
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
        let [query, key, value] = self.project(b, name, x, |b, rows| {
            split_heads(b, rows, &inputs.shape, self.heads)
        })?;
        let [key, value] = append(b, source, cache, [key, value]);
        let unseen = window.unseen(b);
        let added: Vec<_> = cache.bias.iter().chain([&unseen]).collect();
        Ok(self.attend_plainly(b, &[query, key, value], &added))
    }

    /// Attention over the source, shared by the columns of a document (its beams, or its new
    /// tokens): they stand where query positions stand, so that its keys and values are there once.
    /// Rows of `[rows, hidden]` to the same.
    pub fn over_memory(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        inputs: &DecoderInputs,
        cache: &mut LayerCache,
    ) -> Result<Value> {
        let query = self.into_heads(b, name, self.names.query, x)?;
        let attended = match &inputs.past {
            Past::Given { source, .. } => {
                let query = split_heads(b, &query, &inputs.shape, self.heads);
                // What the cache holds is used as it stands; a branch that handed it on would copy it.
                let outside = b.graph.begin_branch("cached");
                let memory = [query, cache.cross_key.clone(), cache.cross_value.clone()];
                let attended = self.attend_plainly(b, &memory, &[&inputs.source_mask]);
                let nothing = b
                    .graph
                    .no_floats(&[0, self.heads.count, 1, self.heads.size]);
                let cached = [attended, nothing.clone(), nothing];
                let cached = b.graph.end_branch(outside, &cached);

                let outside = b.graph.begin_branch("first");
                let hidden_states = rows(b, &source.hidden_states, self.hidden);
                let (key, value) = self.memory(b, name, &hidden_states, &source.shape)?;
                let [query, _, _] = memory;
                let memory = [query, key.clone(), value.clone()];
                let attended = self.attend_plainly(b, &memory, &[&inputs.source_mask]);
                let first = b.graph.end_branch(outside, &[attended, key, value]);
                let node = b.graph.node("If").input(&source.use_cache);
                let [attended, key, value] = node
                    .branch("then_branch", cached)
                    .branch("else_branch", first)
                    .outputs();
                cache.cross_present = Some((key, value));
                attended
            }
            _ => {
                let operator = b.memory().attention;
                b.graph
                    .own(operator)
                    .inputs([&query, &cache.cross_key, &cache.cross_value])
                    .input(&inputs.source_mask)
                    .int(attention::HEADS, self.heads.count as i64)
                    .float(attention::SCALE, self.score_scale())
                    .output()
            }
        };
        self.out_of_heads(b, name, &attended)
    }

    /// Queries, keys and values of `x`, `[rows, heads * head_size]` each before `arrange`.
    fn project(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        mut arrange: impl FnMut(&mut Builder<'_, '_>, &Value) -> Value,
    ) -> Result<[Value; 3]> {
        let mut project = |part: &str| -> Result<Value> {
            let rows = self.into_heads(b, name, part, x)?;
            Ok(arrange(b, &rows))
        };
        let names = self.names;
        Ok([
            project(names.query)?,
            project(names.key)?,
            project(names.value)?,
        ])
    }

    /// Attention in standard operators; `added` goes to the scores.
    fn attend_plainly(
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

/// `[batch * source, heads * head_size]` to `[batch, heads, source, head_size]`; `shape` is int64
/// `[batch, source]`.
pub fn split_heads(b: &mut Builder<'_, '_>, x: &Value, shape: &Value, heads: Heads) -> Value {
    let sizes = [heads.count as i64, heads.size as i64];
    let shape = b.graph.shape(shape, &sizes);
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
