//! LED, the Longformer encoder-decoder (Beltagy et al. 2020, "Longformer: The Long-Document
//! Transformer").
//!
//! Agrees with `transformers/models/led/modeling_led.py`: BART with learned positions from the
//! first row of the table. The encoder's tokens attend to half an `attention_window` on either
//! side. Tokens with global attention attend to all others, with projections of their own, and all
//! others attend to them. The input `global_attention_mask` selects them.

use epitome_runtime::generation::GlobalAttentionMask;

use super::bart::{self, BART};
use super::blocks::attention::{Attention, Projections};
use super::blocks::fused_self_attention::{AttentionScope, GlobalKv, Pattern};
use super::blocks::heads::{flatten, split_heads};
use super::blocks::inputs::{EncoderInputs, Tokens};
use super::blocks::local_attention::{Blocks, neighbours, within};
use super::blocks::plain_attention::{MASKED, attend, attend_to_both, scores};
use super::blocks::positions::PositionKind;
use super::blocks::transformer::{Stack, StackNames};
use super::builder::Builder;
use super::config::{ModelConfig, wrong};
use super::family::Family;
use super::model::Model;
use crate::error::Result;
use crate::onnx::graph::Value;
use crate::onnx::proto::ElementType::{Bool, Int32};

pub(super) static LED: Family = Family {
    model_type: "led",
    title: "LED",
    tokenizer_class: "LEDTokenizer",
    generation_defaults: &[
        ("bos_token_id", 0),
        ("decoder_start_token_id", 2),
        ("eos_token_id", 2),
        ("pad_token_id", 1),
    ],
    forces_bos_by_old_name: false,
    base_prefix: "led.",
    encoder: StackNames::bart("led.encoder"),
    decoder: StackNames::bart("led.decoder"),
    tables: &[
        "led.shared.weight",
        "led.encoder.embed_tokens.weight",
        "led.decoder.embed_tokens.weight",
        "lm_head.weight",
    ],
    positions: Some(PositionKind::Learned { offset: 0 }),
    read,
    ..BART
};

/// Names below the layer's `self_attn`.
const PROJECTIONS: Projections = Projections {
    query: "longformer_self_attn.query",
    key: "longformer_self_attn.key",
    value: "longformer_self_attn.value",
    output: "output",
};

/// Names of the projections of tokens with global attention.
const GLOBAL: Projections = Projections {
    query: "longformer_self_attn.query_global",
    key: "longformer_self_attn.key_global",
    value: "longformer_self_attn.value_global",
    ..PROJECTIONS
};

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let mut model = bart::read(family, config)?;
    model.encoder.attention.names = PROJECTIONS;
    // `LEDConfig` has no `scale_embedding`.
    model.source.scale = None;
    model.target.scale = None;
    let positions =
        |side: &str, default| config.size_or(&format!("max_{side}_position_embeddings"), default);
    model.max_source_positions = positions("encoder", 16384)?;
    let max_target_positions = positions("decoder", 1024)?;
    model.max_target_positions = Some(max_target_positions);
    if let Some((_, table)) = &mut model.source.positions {
        table.positions = model.max_source_positions;
    }
    if let Some((_, table)) = &mut model.target.positions {
        table.positions = max_target_positions;
    }
    let windows = config.sizes_or("attention_window", 512, model.encoder.layers)?;
    if let Some(odd) = windows.iter().find(|window| !window.is_multiple_of(2)) {
        return Err(wrong("attention_window", format_args!("holds {odd}, but must be even")));
    }
    let positions = model.max_source_positions;
    if let Some(wide) = windows.iter().find(|window| **window > positions) {
        return Err(wrong(
            "attention_window",
            format_args!(
                "holds {wide}, but must be at most max_encoder_position_embeddings, {positions}"
            ),
        ));
    }
    // transformers' documentation of LED recommends this mask for summaries.
    model.global_attention_mask = Some(GlobalAttentionMask::first());
    model.encoder_layers =
        Box::new(move |b, encoder, inputs, x| layers(b, encoder, inputs, x, &windows));
    Ok(model)
}

/// Tensors of the portable layout that layers with the same window share.
struct Window {
    blocks: Blocks,
    /// Additive mask of padding: float32 `[batch, 1, blocks, 1, 3 * size]`.
    mask: Value,
    /// Additive mask of distances: float32 `[size, 3 * size]`.
    band: Value,
}

impl Window {
    fn new(
        b: &mut Builder<'_, '_>,
        (inputs, global): (&EncoderInputs, &Global),
        window: usize,
    ) -> Self {
        let reach = window / 2;
        let blocks = Blocks::new(b, inputs, reach, 0);
        let mask = blocks.mask(b, &global.others);
        let mask = neighbours(b, &mask, 4, MASKED);
        let relative = blocks.relative(b);
        let band = within(b, &relative, reach);
        Self { blocks, mask, band }
    }

    /// Attention of all tokens to the window and to the tokens with global attention:
    /// `[batch * source, hidden]` to `[batch * source, heads * head_size]`.
    fn attend(
        &self,
        b: &mut Builder<'_, '_>,
        (attention, name): (&Attention, &str),
        x: &Value,
        (inputs, global): (&EncoderInputs, &Global),
    ) -> Result<Value> {
        let heads = attention.heads;
        let [query, key, value] = attention.qkv(b, name, x, Tokens::Source(inputs))?;
        let query = scaled(b, attention, &query);
        let query = self.blocks.split(b, &query, heads);
        let [global_key, global_value] = [&key, &value].map(|x| global.of_all_blocks(b, x));
        let [key, value] = [key, value].map(|x| {
            let x = self.blocks.split(b, &x, heads);
            neighbours(b, &x, 3, 0.0)
        });
        let near = scores(b, &query, &key, 5);
        let far = scores(b, &query, &global_key, 5);
        let near = [&self.band, &self.mask]
            .into_iter()
            .fold(near, |sum, added| b.graph.node("Add").inputs([&sum, added]).output());
        let far = b.graph.node("Add").inputs([&far, &global.mask]).output();
        let in_reach = b.graph.int64s(&[3 * self.blocks.size as i64]);
        let node = b.graph.node("Concat").inputs([&in_reach, &global.count]);
        let sizes = node.int("axis", 0).output();
        let attended = attend_to_both(b, [(&near, &value), (&far, &global_value)], &sizes, &[]);
        Ok(self.blocks.join(b, &attended, inputs, heads))
    }
}

/// [`Window::attend`] with the fused operator: `[batch * source, hidden]` to
/// `[batch * source, heads * head_size]`.
fn fused(
    b: &mut Builder<'_, '_>,
    (attention, name): (&Attention, &str),
    x: &Value,
    (inputs, global): (&EncoderInputs, &Global),
    window: usize,
) -> Result<Value> {
    let [query, key, value] = attention.qkv(b, name, x, Tokens::Source(inputs))?;
    let hidden = attention.heads.hidden();
    let [global_key, global_value] =
        [&key, &value].map(|rows| global.tokens(b, rows, hidden, inputs));
    let globals =
        GlobalKv { key: &global_key, value: &global_value, mask: &global.valid, bias: None };
    let scope = AttentionScope {
        pattern: Pattern::Window { before: window / 2, after: window / 2 },
        globals: Some(globals),
        ..AttentionScope::all(&global.others)
    };
    Ok(attention.fused(b, [&query, &key, &value], &scope))
}

/// Multiplies queries with the scale of the scores.
fn scaled(b: &mut Builder<'_, '_>, attention: &Attention, query: &Value) -> Value {
    let scale = b.graph.scalar(attention.score_scale());
    b.graph.node("Mul").inputs([query, &scale]).output()
}

/// The tokens with global attention, for all layers.
///
/// The first token of the source is always among them, and masked if it has no global attention:
/// most calls give no mask, and operators on empty tensors are a risk.
struct Global {
    /// int32 `[batch, source]`: 1 for a token without global attention.
    others: Value,
    /// int32 `[batch, source]`: 1 for a token with global attention.
    is_global: Value,
    /// bool `[]`: whether any token has global attention.
    any: Value,
    /// int64 `[tokens]`: positions of the tokens that have global attention in any document.
    positions: Value,
    /// int64 `[1]`: number of these positions.
    count: Value,
    /// int64 `[2]`: the shape `[batch, tokens]`.
    shape: Value,
    /// int32 `[batch, tokens]`: 1 for positions with global attention in the document.
    valid: Value,
    /// float32 `[batch, 1, 1, 1, tokens]`: additive mask of these positions.
    mask: Value,
}

impl Global {
    fn new(b: &mut Builder<'_, '_>, inputs: &EncoderInputs) -> Self {
        let all = b.graph.range(&inputs.source_length);
        let graph = &mut b.graph;
        let [zero, masked] = [graph.scalar(0.0), graph.scalar(MASKED)];
        let first = graph.int64_scalar(0);
        let [documents, tokens] = [graph.int64s(&[0]), graph.int64s(&[1])];
        let middle = graph.int64s(&[1, 2, 3]);
        let given = inputs.global_attention_mask.iter().chain([&inputs.mask]);
        let given: Vec<_> = given
            .map(|mask| graph.node("Cast").input(mask).int("to", Bool as i64).output())
            .collect();
        // Padding has no global attention.
        let is_global = graph.node("And").inputs(&given).output();
        let number = graph.node("Cast").input(&is_global).int("to", Int32 as i64).output();
        let others = graph.node("Sub").inputs([&inputs.mask, &number]).output();
        let in_any = graph.node("ReduceMax").inputs([&number, &documents]).int("keepdims", 0);
        let in_any = in_any.output();
        let any = graph.node("ReduceMax").input(&in_any).int("keepdims", 0).output();
        let any = graph.node("Cast").input(&any).int("to", Bool as i64).output();
        let in_any = graph.node("Cast").input(&in_any).int("to", Bool as i64).output();
        let is_first = graph.node("Equal").inputs([&all, &first]).output();
        let counts = graph.node("Or").inputs([&in_any, &is_first]).output();
        let positions = graph.node("NonZero").input(&counts).output();
        let positions = graph.node("Squeeze").inputs([&positions, &documents]).output();
        let count = graph.node("Shape").input(&positions).output();

        let node = graph.node("Gather").inputs([&is_global, &positions]);
        let valid = node.int("axis", 1).output();
        let mask = graph.node("Where").inputs([&valid, &zero, &masked]).output();
        let valid = graph.node("Cast").input(&valid).int("to", Int32 as i64).output();
        let mask = graph.node("Unsqueeze").inputs([&mask, &middle]).output();
        let batch = graph.node("Slice").inputs([&inputs.shape, &documents, &tokens]).output();
        let shape = graph.node("Concat").inputs([&batch, &count]).int("axis", 0).output();
        Self { others, is_global: number, any, positions, count, shape, valid, mask }
    }

    /// Keys or values of the global tokens, in the shape that all blocks attend to:
    /// `[batch, heads, source, head_size]` to `[batch, heads, 1, tokens, head_size]`.
    fn of_all_blocks(&self, b: &mut Builder<'_, '_>, x: &Value) -> Value {
        let axis = b.graph.int64s(&[2]);
        let node = b.graph.node("Gather").inputs([x, &self.positions]);
        let tokens = node.int("axis", 2).output();
        b.graph.node("Unsqueeze").inputs([&tokens, &axis]).output()
    }

    /// Selects the rows of the global tokens: `[batch * source, size]` to `[batch * tokens, size]`.
    fn tokens(
        &self,
        b: &mut Builder<'_, '_>,
        x: &Value,
        size: usize,
        inputs: &EncoderInputs,
    ) -> Value {
        let shape = inputs.with_size(b, size);
        let documents = b.graph.node("Reshape").inputs([x, &shape]).output();
        let node = b.graph.node("Gather").inputs([&documents, &self.positions]);
        let tokens = node.int("axis", 1).output();
        flatten(b, &tokens, size)
    }

    /// Replaces the rows of global tokens in `attended` with their attention to all of `x`. Both
    /// are `[batch * source, hidden]`.
    fn attend(
        &self,
        b: &mut Builder<'_, '_>,
        (attention, name): (&Attention, &str),
        (x, attended): (&Value, &Value),
        inputs: &EncoderInputs,
    ) -> Result<Value> {
        // The mask is written outside the branch, so that all layers share it.
        let mask = b.is_portable().then(|| inputs.score_mask(b));
        inputs.with_size(b, attention.hidden);
        let outside = b.graph.begin_branch("global");
        let tokens = self.tokens(b, x, attention.hidden, inputs);
        let query = attention.project(b, name, GLOBAL.query, &tokens)?;
        let key = attention.project(b, name, GLOBAL.key, x)?;
        let value = attention.project(b, name, GLOBAL.value, x)?;
        let of_globals = match &mask {
            None => attention.fused(b, [&query, &key, &value], &AttentionScope::all(&inputs.mask)),
            Some(mask) => {
                let heads = attention.heads;
                let query = split_heads(b, &query, &self.shape, heads);
                let [key, value] =
                    [&key, &value].map(|rows| split_heads(b, rows, &inputs.shape, heads));
                let query = scaled(b, attention, &query);
                attend(b, [&query, &key, &value], &[mask], heads)
            }
        };
        // A token of `positions` has global attention in some of the documents only.
        let graph = &mut b.graph;
        let [flat, first] = [graph.int64s(&[-1]), graph.int64s(&[0])];
        let [from, to] = [&self.valid, &self.is_global].map(|mask| {
            let mask = graph.node("Reshape").inputs([mask, &flat]).output();
            graph.node("NonZero").input(&mask).output()
        });
        let from = graph.node("Squeeze").inputs([&from, &first]).output();
        let rows = graph.node("Gather").inputs([&of_globals, &from]).int("axis", 0).output();
        let to = graph.node("Transpose").input(&to).ints("perm", &[1, 0]).output();
        let placed = graph.node("ScatterND").inputs([attended, &to, &rows]).output();
        let with = b.graph.end_branch(outside, &[placed]);
        let outside = b.graph.begin_branch("local");
        let without = b.graph.end_branch(outside, std::slice::from_ref(attended));
        let node = b.graph.node("If").input(&self.any);
        Ok(node.branch("then_branch", with).branch("else_branch", without).output())
    }
}

fn layers(
    b: &mut Builder<'_, '_>,
    encoder: &Stack,
    inputs: &EncoderInputs,
    x: &Value,
    windows: &[usize],
) -> Result<Value> {
    let mut sizes = windows.to_vec();
    sizes.sort_unstable();
    sizes.dedup();
    let global = b.scoped("global", |b| Ok(Global::new(b, inputs)))?;
    let prepared: Vec<Window> = match b.is_portable() {
        true => b.scoped("windows", |b| {
            Ok(sizes.iter().map(|window| Window::new(b, (inputs, &global), *window)).collect())
        })?,
        false => Vec::new(),
    };
    encoder.encoder(b, (inputs, x), &mut |b, (layer, name), x| {
        let attention = (&encoder.attention, name);
        let of_size = sizes.partition_point(|size| *size < windows[layer]);
        let attended = match prepared.get(of_size) {
            Some(window) => window.attend(b, attention, x, (inputs, &global))?,
            None => fused(b, attention, x, (inputs, &global), windows[layer])?,
        };
        let attended = global.attend(b, attention, (x, &attended), inputs)?;
        encoder.attention.project_back(b, name, &attended)
    })
}
