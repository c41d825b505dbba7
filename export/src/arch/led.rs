//! LED, the Longformer encoder-decoder (Beltagy et al. 2020, "Longformer: The Long-Document
//! Transformer").
//!
//! Agrees with `transformers/models/led/modeling_led.py`: BART, whose encoder sees half an
//! `attention_window` to either side, with learned positions from the first row of their table. No
//! token has global attention, as when transformers is given no `global_attention_mask`, and as
//! `run_summarization.py` trains it; the weights for that are left out.

use super::bart::{self, BART};
use super::blocks::attention::{Attention, Projections};
use super::blocks::heads::split_heads;
use super::blocks::inputs::EncoderInputs;
use super::blocks::local_attention::{Blocks, neighbours, within};
use super::blocks::plain_attention::{MASKED, probs, scores};
use super::blocks::positions::PositionKind;
use super::blocks::transformer::{Stack, StackNames};
use super::builder::Builder;
use super::config::{ModelConfig, wrong};
use super::family::Family;
use super::model::Model;
use crate::error::Result;
use crate::onnx::graph::Value;

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

/// Below the layer's `self_attn`.
const PROJECTIONS: Projections = Projections {
    query: "longformer_self_attn.query",
    key: "longformer_self_attn.key",
    value: "longformer_self_attn.value",
    output: "output",
};

/// The projections of tokens with global attention.
const GLOBAL: [&str; 3] = ["query_global", "key_global", "value_global"];

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let mut model = bart::read(family, config)?;
    model.encoder.attention.names = PROJECTIONS;
    // Its configuration has no `scale_embedding`.
    model.embedding_scale = None;
    let positions =
        |side: &str, default| config.size_or(&format!("max_{side}_position_embeddings"), default);
    model.max_source_positions = positions("encoder", 16384)?;
    let max_target_positions = positions("decoder", 1024)?;
    model.max_target_positions = Some(max_target_positions);
    if let Some(table) = &mut model.source_positions {
        table.positions = model.max_source_positions;
    }
    if let Some(table) = &mut model.target_positions {
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
    for layer in 0..model.encoder.layers {
        let name = model.encoder.names.layer(layer);
        for part in GLOBAL {
            let weights = ["weight", "bias"]
                .map(|kind| format!("{name}.self_attn.longformer_self_attn.{part}.{kind}"));
            model.unused.extend(weights);
        }
    }
    model.encoder_layers =
        Box::new(move |b, encoder, inputs, x| layers(b, encoder, inputs, x, &windows));
    Ok(model)
}

/// What the layers of one window share.
struct Window {
    blocks: Blocks,
    /// float32 `[batch, 1, blocks, 1, 3 * size]`.
    mask: Value,
    /// float32 `[size, 3 * size]`.
    band: Value,
}

impl Window {
    fn new(b: &mut Builder<'_, '_>, inputs: &EncoderInputs, window: usize) -> Self {
        let reach = window / 2;
        let blocks = Blocks::new(b, inputs, reach, 0);
        let mask = blocks.mask(b, inputs);
        let mask = neighbours(b, &mask, 4, MASKED);
        let relative = blocks.relative(b);
        let band = within(b, &relative, reach);
        Self { blocks, mask, band }
    }

    /// Self-attention of `[batch * source, hidden]` to the same.
    fn attend(
        &self,
        b: &mut Builder<'_, '_>,
        (attention, name): (&Attention, &str),
        x: &Value,
        inputs: &EncoderInputs,
    ) -> Result<Value> {
        let heads = attention.heads;
        let mut project = |part: &str| -> Result<Value> {
            let rows = attention.project(b, name, part, x)?;
            let split = split_heads(b, &rows, &inputs.shape, heads);
            Ok(self.blocks.split(b, &split, heads))
        };
        let names = attention.names;
        let [query, key, value] =
            [project(names.query)?, project(names.key)?, project(names.value)?];
        let scale = b.graph.scalar(attention.score_scale());
        let query = b.graph.node("Mul").inputs([&query, &scale]).output();
        let [key, value] = [key, value].map(|x| neighbours(b, &x, 3, 0.0));
        let scores = scores(b, &query, &key, 5);
        let probs = probs(b, &scores, &[&self.band, &self.mask]);
        let attended = b.graph.node("MatMul").inputs([&probs, &value]).output();
        let attended = self.blocks.join(b, &attended, inputs, heads);
        attention.project_back(b, name, &attended)
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
    let prepared: Vec<Window> = b.scoped("windows", |b| {
        Ok(sizes.iter().map(|window| Window::new(b, inputs, *window)).collect())
    })?;
    encoder.encoder(b, x, &mut |b, (layer, name), x| {
        let window = sizes.partition_point(|size| *size < windows[layer]);
        prepared[window].attend(b, (&encoder.attention, name), x, inputs)
    })
}
