//! Attention: over the source in the encoder, over the cache and over the source in the decoder.

use epitome_runtime::operators::attention;

use super::fused_self_attention::{AttentionScope, GlobalKv, Pattern, fused};
use super::heads::{Heads, flatten, join_heads, split_heads};
use super::inputs::{DecoderInputs, EncoderInputs, LayerCache, Past, Recomputed, Tokens, Window};
use super::linear::{linear, linears};
use super::norm::Norm;
use super::plain_attention::{self, attend_to_both, softcapped, window_mask};
use super::prompt::LayerPrompt;
use super::rotary::Rotary;
use super::streams::{STREAMS, token_rows};
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::{NodeBuilder, Value};
use crate::packing::Role;

/// Checkpoint names of the four linear layers of an attention, below the name of the attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Projections {
    /// Name of the projection of queries.
    pub(crate) query: &'static str,
    /// Name of the projection of keys.
    pub(crate) key: &'static str,
    /// Name of the projection of values.
    pub(crate) value: &'static str,
    /// Name of the output projection.
    pub(crate) output: &'static str,
}

impl Projections {
    /// Names of transformers' BART family.
    pub(crate) const BART: Self =
        Self { query: "q_proj", key: "k_proj", value: "v_proj", output: "out_proj" };
    /// Names of transformers' T5 family.
    pub(crate) const T5: Self = Self { query: "q", key: "k", value: "v", output: "o" };
}

/// Type of a layer's self-attention, where layers differ (transformers' `layer_types`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LayerType {
    /// How many tokens before and behind itself a token attends to; all tokens if `None`. A token
    /// of a summary never attends to later tokens.
    pub(crate) reach: Option<[usize; 2]>,
    /// Rotary positions of queries and keys.
    pub(crate) rotary: Option<Rotary>,
}

/// An attention layer: its sizes, the names of its weights and the treatment of its scores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention {
    /// The query heads.
    pub(crate) heads: Heads,
    /// Number of key and value heads. Each serves the same number of query heads.
    pub(crate) kv_heads: usize,
    /// Size of the hidden states, which may differ from the size of all heads together.
    pub(crate) hidden: usize,
    /// Names of the projections.
    pub(crate) names: Projections,
    /// Scale of the scores; `1 / sqrt(head_size)` if `None`.
    pub(crate) scale: Option<f32>,
    /// Soft cap: scores become `softcap * tanh(score / softcap)`.
    pub(crate) softcap: Option<f32>,
    /// Norm of each head of queries and keys, and the names of the two norms.
    pub(crate) head_norm: Option<(Norm, [&'static str; 2])>,
    /// Type of the self-attention.
    pub(crate) layer_type: LayerType,
    /// Whether the decoder's self-attention also attends to the source, in the same softmax, and
    /// there is no cross-attention (T5Gemma 2).
    pub(crate) merged: bool,
}

impl Attention {
    /// Attention whose heads have keys and values of their own, with the scale
    /// `1 / sqrt(head_size)`.
    pub(crate) fn new(heads: Heads, hidden: usize, names: Projections) -> Self {
        Self {
            heads,
            kv_heads: heads.count,
            hidden,
            names,
            scale: None,
            softcap: None,
            head_norm: None,
            layer_type: LayerType::default(),
            merged: false,
        }
    }

    /// The heads of keys and values.
    pub(crate) fn kv(&self) -> Heads {
        Heads { count: self.kv_heads, size: self.heads.size }
    }

    /// An encoder's self-attention, to all tokens or to those within reach:
    /// `[batch * source, hidden]` to the same shape. `bias` is added to the scores:
    /// `[heads, distances]`, or `[1, heads, source, source]` in the portable layout.
    pub(crate) fn encoder_self_attention(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        inputs: &EncoderInputs,
        bias: Option<&Value>,
    ) -> Result<Value> {
        let reach = self.layer_type.reach;
        if !b.is_portable() {
            let pattern =
                reach.map_or(Pattern::Full, |[before, after]| Pattern::Window { before, after });
            let scope = AttentionScope { bias, pattern, ..AttentionScope::all(&inputs.mask) };
            return self.fused_encoder_self_attention(b, (name, x), (inputs, &scope));
        }
        let parts = self.qkv(b, name, x, Tokens::Source(inputs))?;
        let mask = inputs.score_mask(b);
        let window = reach.map(|[before, after]| {
            let relative = inputs.relative(b);
            let key = format!("window{before}_{after}");
            b.graph.shared("positions", &key, |graph| {
                window_mask(graph, &relative, Some(before), after)
            })
        });
        let added: Vec<_> = bias.into_iter().chain(&window).chain([&mask]).collect();
        let attended = self.attend(b, &parts, &added);
        self.project_back(b, name, &attended)
    }

    /// Bidirectional self-attention to a prompt and all tokens: `[batch * source, hidden]` to the
    /// same shape.
    pub(crate) fn encoder_self_attention_behind(
        &self,
        b: &mut Builder<'_, '_>,
        (prompt, name): (&LayerPrompt, &str),
        x: &Value,
        inputs: &EncoderInputs,
    ) -> Result<Value> {
        if !b.is_portable() {
            let [key, value, mask] = &prompt.of_batch(b, &inputs.shape);
            let globals = Some(GlobalKv { key, value, mask, bias: None });
            let scope = AttentionScope { globals, ..AttentionScope::all(&inputs.mask) };
            return self.fused_encoder_self_attention(b, (name, x), (inputs, &scope));
        }
        let [query, key, value] = self.qkv(b, name, x, Tokens::Source(inputs))?;
        let [key, value] = self.prepend_prompt(b, prompt, [key, value], &inputs.shape);
        let mask = inputs.score_mask(b);
        let mask = prompt.of.mask(b, &mask, 4);
        let attended = self.attend(b, &[query, key, value], &[&mask]);
        self.project_back(b, name, &attended)
    }

    /// Self-attention with the pattern `scope`: `[batch * source, hidden]` to the same shape.
    pub(crate) fn fused_encoder_self_attention(
        &self,
        b: &mut Builder<'_, '_>,
        (name, x): (&str, &Value),
        (inputs, scope): (&EncoderInputs, &AttentionScope<'_>),
    ) -> Result<Value> {
        let parts = self.qkv(b, name, x, Tokens::Source(inputs))?;
        let attended = self.fused(b, parts.each_ref(), scope);
        self.project_back(b, name, &attended)
    }

    /// Calls [`fused`] with queries, keys and values.
    pub(crate) fn fused(
        &self,
        b: &mut Builder<'_, '_>,
        parts: [&Value; 3],
        scope: &AttentionScope<'_>,
    ) -> Value {
        fused(b, |node| self.attributes(node), parts, scope)
    }

    /// Keys and values of one decoder layer's cross-attention, computed once for each document:
    /// `[batch * source, size]` to two tensors `[batch, kv_heads, source, head_size]`, or to their
    /// form packed by [`attention::PACK_CROSS_KV_FP32`]. The prompt comes first, if there is one.
    /// `shape` is int64 `[batch, source]`.
    pub(crate) fn cross_kv(
        &self,
        b: &mut Builder<'_, '_>,
        (name, prompt): (&str, Option<&LayerPrompt>),
        (hidden_states, size): (&Value, usize),
        shape: &Value,
    ) -> Result<(Value, Value)> {
        let (names, heads) = (self.names, self.kv());
        let both = [names.key, names.value].map(|part| format!("{name}.{part}"));
        // Merged attention uses the weights of self-attention.
        let role = if self.merged { Role::Layer } else { Role::CrossLayer };
        let [keys, values] = linears(b, both, hidden_states, (size, heads.hidden()), role)?;
        let mut finish = |rows: Value, packed: &str, norm: Option<usize>| -> Result<Value> {
            let rows = match norm {
                Some(which) => self.normalize_heads(b, name, which, &rows, heads)?,
                None => rows,
            };
            if b.is_portable() {
                return Ok(split_heads(b, &rows, shape, heads));
            }
            let (rows, shape) = match prompt {
                Some(prompt) if packed == attention::KEYS => {
                    (&prompt.before(b, &prompt.key, &rows, shape), &prompt.shape(b, shape))
                }
                Some(prompt) => {
                    (&prompt.before(b, &prompt.value, &rows, shape), &prompt.shape(b, shape))
                }
                None => (&rows, shape),
            };
            let operator = b.cross_kv().packing;
            Ok(b.graph
                .custom(operator)
                .inputs([rows, shape])
                .int(attention::HEADS, heads.count as i64)
                .string(attention::PART, packed)
                .output())
        };
        let keys = finish(keys, attention::KEYS, Some(1))?;
        Ok((keys, finish(values, attention::VALUES, None)?))
    }

    /// Causal self-attention of the new tokens to the cache and to themselves, and to the source if
    /// attention is merged: `[rows, hidden]` to the same shape.
    pub(crate) fn self_attention(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        inputs: &DecoderInputs,
        cache: &mut LayerCache,
    ) -> Result<Value> {
        if let Some(streams) = &inputs.streams {
            cache.bias = Some(streams.bias(b, name, (x, self.hidden), self.heads)?);
        }
        let parts = self.qkv(b, name, x, Tokens::Step(inputs))?;
        let attended = match &inputs.past {
            Past::InPlace { cache_indirection } => {
                self.fused_self_attention(b, parts, (inputs, cache_indirection), cache)
            }
            Past::Given { window, source } => {
                self.self_attention_with_past(b, (name, parts), (inputs, window, source), cache)?
            }
        };
        self.project_back(b, name, &attended)
    }

    /// Self-attention of one new token of each row, with a cache that is written in place.
    fn fused_self_attention(
        &self,
        b: &mut Builder<'_, '_>,
        parts: [Value; 3],
        (inputs, cache_indirection): (&DecoderInputs, &Value),
        cache: &mut LayerCache,
    ) -> Value {
        let elsewhere: Option<[Value; 2]> =
            self.merged.then(|| self.fused_cross_attention(b, &parts[0], inputs, cache).outputs());
        let node = b
            .graph
            .custom(attention::CACHED_ATTENTION)
            .inputs(&parts)
            .inputs([&cache.past_key, &cache.past_value, &inputs.past_length, cache_indirection])
            .optional(cache.bias.as_ref())
            .inputs(elsewhere.iter().flatten());
        let node = match &cache.prompt {
            Some(prompt) => {
                let nowhere = if self.merged { 0 } else { 2 };
                let node = (0..nowhere).fold(node, |node, _| node.optional(None));
                node.inputs([&prompt.key, &prompt.value])
            }
            None => node,
        };
        let node = match &inputs.streams {
            Some(_) => node.int(attention::STREAMS, STREAMS as i64),
            None => node,
        };
        let node = self.attributes(node);
        let node = match self.layer_type.reach {
            Some([before, _]) => node.int(attention::REACH, before as i64),
            None => node,
        };
        let [attended, key, value] = node.outputs();
        cache.present = Some((key, value));
        attended
    }

    /// Self-attention of several new tokens of each row, whose keys and values are appended to the
    /// cache.
    fn self_attention_with_past(
        &self,
        b: &mut Builder<'_, '_>,
        (name, [query, key, value]): (&str, [Value; 3]),
        (inputs, window, source): (&DecoderInputs, &Window, &Recomputed),
        cache: &mut LayerCache,
    ) -> Result<Value> {
        if let Some((streams, bias)) = inputs.streams.as_ref().zip(cache.bias.clone()) {
            let tokens = [&key, &value].map(|part| token_rows(b, part, 2));
            let tokens = append(b, source, cache, tokens);
            let query = self.scaled(b, &query);
            let bias = (&bias, &inputs.states);
            return Ok(streams.attend(b, &[query, key, value], &tokens, bias, self.heads));
        }
        let [mut key, mut value] = append(b, source, cache, [key, value]);
        let mut mask = window.causal_mask(b, self.layer_type.reach.map(|[before, _]| before));
        if let Some(prompt) = &cache.prompt {
            [key, value] = self.prepend_prompt(b, prompt, [key, value], &inputs.shape);
            mask = prompt.of.mask(b, &mask, 2);
        }
        let added: Vec<_> = cache.bias.iter().chain([&mask]).cloned().collect();
        if !self.merged {
            return Ok(self.attend(b, &[query, key, value], &added.iter().collect::<Vec<_>>()));
        }
        self.attend_to_source(b, name, source, cache, &mut |b, source| {
            let parts = [[&key, &value], source].map(|[key, value]| {
                let [key, value] = [key, value].map(|part| self.repeat_kv(b, part));
                (self.scores(b, &query, &key), value)
            });
            let [(here, value), (there, source_value)] = &parts;
            let added = added.iter().fold(here.clone(), |sum, added| {
                b.graph.node("Add").inputs([&sum, added]).output()
            });
            let there = b.graph.node("Add").inputs([there, &inputs.source]).output();
            let graph = &mut b.graph;
            let length = graph.node("Shape").input(source[0]).int("start", 2).int("end", 3);
            let length = length.output();
            let lengths = graph.node("Concat").inputs([window.total(), &length]);
            let lengths = lengths.int("axis", 0).output();
            let parts = [(&added, value), (&there, source_value)];
            let attended = attend_to_both(b, parts, &lengths, &[]);
            join_heads(b, &attended, self.heads)
        })
    }

    /// Puts keys and values, `[batch, heads, tokens, head_size]`, behind those of the prompt.
    /// `shape` is int64 `[batch, ..]`.
    fn prepend_prompt(
        &self,
        b: &mut Builder<'_, '_>,
        prompt: &LayerPrompt,
        parts: [Value; 2],
        shape: &Value,
    ) -> [Value; 2] {
        let prompt = prompt.of_heads(b, shape, self.kv());
        concat_tokens(b, &prompt, &parts)
    }

    /// Attention to the source: `[rows, hidden]` to the same shape. The rows of a document (its
    /// beams, or its new tokens) are the query positions of one attention, so that they share its
    /// keys and values.
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
                let query = split_heads(b, &query, &inputs.states, self.heads);
                let prompt = cache.cross_prompt.as_ref();
                let prompt = prompt.map(|prompt| prompt.of_heads(b, &inputs.shape, self.kv()));
                self.attend_to_source(b, name, source, cache, &mut |b, parts| {
                    let parts = parts.map(Clone::clone);
                    let [key, value] = match &prompt {
                        Some(prompt) => concat_tokens(b, prompt, &parts),
                        None => parts,
                    };
                    self.attend(b, &[query.clone(), key, value], &[&inputs.source])
                })?
            }
            _ => self.fused_cross_attention(b, &query, inputs, cache).output(),
        };
        let sizes = (self.heads.hidden(), self.hidden);
        let name = format!("{name}.{}", self.names.output);
        let [rows] = linears(b, [name], &attended, sizes, Role::CrossLayer)?;
        Ok(rows)
    }

    /// The operator of attention to the packed keys and values of the source.
    fn fused_cross_attention<'g>(
        &self,
        b: &'g mut Builder<'_, '_>,
        query: &Value,
        inputs: &DecoderInputs,
        cache: &LayerCache,
    ) -> NodeBuilder<'g> {
        let operator = b.cross_kv().attention;
        let node = b
            .graph
            .custom(operator)
            .inputs([query, &cache.cross_key, &cache.cross_value])
            .input(&inputs.source);
        self.attributes(node)
    }

    /// Attends to the source with the keys and values of the cache. At the first step there are
    /// none: they are computed, and returned as outputs.
    fn attend_to_source(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        source: &Recomputed,
        cache: &mut LayerCache,
        attend: &mut dyn FnMut(&mut Builder<'_, '_>, [&Value; 2]) -> Value,
    ) -> Result<Value> {
        // Only the attention is inside the branch: a branch that returned the cache would copy it.
        let outside = b.graph.begin_branch("cached");
        let attended = attend(b, [&cache.cross_key, &cache.cross_value]);
        let nothing = b.graph.no_floats(&[0, self.kv_heads, 1, self.heads.size]);
        let cached = [attended, nothing.clone(), nothing];
        let cached = b.graph.end_branch(outside, &cached);

        let outside = b.graph.begin_branch("first");
        let projected = (&source.projected(b)?, source.memory.projected_size());
        let (key, value) = self.cross_kv(b, (name, None), projected, &source.shape)?;
        let attended = attend(b, [&key, &value]);
        let first = b.graph.end_branch(outside, &[attended, key, value]);
        let node = b.graph.node("If").input(&source.use_cache);
        let [attended, key, value] =
            node.branch("then_branch", cached).branch("else_branch", first).outputs();
        cache.cross_present = Some((key, value));
        Ok(attended)
    }

    /// Queries, keys and values of `x`, normalized and rotated: `[rows, heads * head_size]` each,
    /// or `[batch, heads, tokens, head_size]` in the portable layout.
    pub(crate) fn qkv(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        tokens: Tokens<'_>,
    ) -> Result<[Value; 3]> {
        let names = self.names;
        let full = |part: &str| format!("{name}.{part}");
        let size = |heads: Heads| (self.hidden, heads.hidden());
        let keys_and_values = [full(names.key), full(names.value)];
        let [query, key, value] = if self.heads.hidden() == self.kv().hidden() {
            let [key, value] = keys_and_values;
            linears(b, [full(names.query), key, value], x, size(self.heads), Role::Layer)?
        } else {
            let query = linear(b, &full(names.query), x, size(self.heads))?;
            let [key, value] = linears(b, keys_and_values, x, size(self.kv()), Role::Layer)?;
            [query, key, value]
        };
        let mut finish = |mut rows: Value, heads: Heads, norm: Option<usize>| -> Result<Value> {
            if let Some(which) = norm {
                rows = self.normalize_heads(b, name, which, &rows, heads)?;
            }
            if b.is_portable() {
                rows = split_heads(b, &rows, tokens.shape(), heads);
            }
            match self.layer_type.rotary.filter(|_| norm.is_some()) {
                Some(rotary) => rotary.rotate(b, &rows, heads.size, tokens),
                None => Ok(rows),
            }
        };
        Ok([
            finish(query, self.heads, Some(0))?,
            finish(key, self.kv(), Some(1))?,
            finish(value, self.kv(), None)?,
        ])
    }

    /// Normalizes each head of queries (`part` 0) or keys (1), `[rows, heads * head_size]`, if the
    /// model does.
    fn normalize_heads(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        which: usize,
        rows: &Value,
        heads: Heads,
    ) -> Result<Value> {
        let Some((norm, names)) = self.head_norm else {
            return Ok(rows.clone());
        };
        let each = flatten(b, rows, heads.size);
        let normalized = norm.apply(b, &format!("{name}.{}", names[which]), &each)?;
        Ok(flatten(b, &normalized, heads.hidden()))
    }

    /// Sets the attributes that all attention operators have.
    fn attributes<'g>(&self, node: NodeBuilder<'g>) -> NodeBuilder<'g> {
        let node = node
            .int(attention::HEADS, self.heads.count as i64)
            .float(attention::SCALE, self.score_scale());
        let node = match self.kv_heads == self.heads.count {
            true => node,
            false => node.int(attention::KV_HEADS, self.kv_heads as i64),
        };
        match self.softcap {
            Some(softcap) => node.float(attention::SOFTCAP, softcap),
            None => node,
        }
    }

    /// Attention in standard operators. `added` is added to the scores.
    fn attend(
        &self,
        b: &mut Builder<'_, '_>,
        [query, key, value]: &[Value; 3],
        added: &[&Value],
    ) -> Value {
        let [key, value] = [key, value].map(|part| self.repeat_kv(b, part));
        let scores = self.scores(b, query, &key);
        plain_attention::weighted(b, (&scores, &value), added, self.heads)
    }

    /// Scores in standard operators. Queries and keys have the same number of heads.
    fn scores(&self, b: &mut Builder<'_, '_>, query: &Value, key: &Value) -> Value {
        let query = self.scaled(b, query);
        let scores = plain_attention::scores(b, &query, key, 4);
        match self.softcap {
            Some(softcap) => softcapped(&mut b.graph, &scores, softcap),
            None => scores,
        }
    }

    /// Multiplies the queries with the scale of the scores.
    fn scaled(&self, b: &mut Builder<'_, '_>, query: &Value) -> Value {
        match self.score_scale() {
            1.0 => query.clone(),
            scale => {
                let scale = b.graph.scalar(scale);
                b.graph.node("Mul").inputs([query, &scale]).output()
            }
        }
    }

    /// Repeats keys or values for each query head: `[batch, kv_heads, tokens, head_size]` to
    /// `[batch, heads, tokens, head_size]`.
    fn repeat_kv(&self, b: &mut Builder<'_, '_>, part: &Value) -> Value {
        if self.kv_heads == self.heads.count {
            return part.clone();
        }
        let graph = &mut b.graph;
        let axis = graph.int64s(&[2]);
        let shape = graph.int64s(&[0, self.heads.count as i64, -1, self.heads.size as i64]);
        let one = graph.node("Unsqueeze").inputs([part, &axis]).output();
        let copies = vec![&one; self.heads.count / self.kv_heads];
        let copies = graph.node("Concat").inputs(copies).int("axis", 2).output();
        graph.node("Reshape").inputs([&copies, &shape]).output()
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

    /// Scale of the scores.
    pub(crate) fn score_scale(&self) -> f32 {
        self.scale.unwrap_or_else(|| (self.heads.size as f32).sqrt().recip())
    }
}

/// Appends the new keys and values of one layer to its cache, if there is one. The result,
/// `[batch, heads, past_length + columns, head_size]`, also becomes the layer's output in the
/// cache.
fn append(
    b: &mut Builder<'_, '_>,
    source: &Recomputed,
    cache: &mut LayerCache,
    new: [Value; 2],
) -> [Value; 2] {
    let graph = &mut b.graph;
    let outside = graph.begin_branch("cached");
    let past = [&cache.past_key, &cache.past_value].map(Clone::clone);
    let all = concat_tokens(b, &past, &new);
    let graph = &mut b.graph;
    let cached = graph.end_branch(outside, &all);
    let outside = graph.begin_branch("first");
    let first = graph.end_branch(outside, &new);
    let node = graph.node("If").input(&source.use_cache);
    let all: [Value; 2] = node.branch("then_branch", cached).branch("else_branch", first).outputs();
    let [key, value] = all.clone();
    cache.present = Some((key, value));
    all
}

/// Concatenates keys and values `[batch, heads, tokens, head_size]` with others behind them.
fn concat_tokens(b: &mut Builder<'_, '_>, parts: &[Value; 2], others: &[Value; 2]) -> [Value; 2] {
    [0, 1].map(|part| {
        let node = b.graph.node("Concat").inputs([&parts[part], &others[part]]);
        node.int("axis", 2).output()
    })
}
