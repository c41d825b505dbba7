//! LED, the Longformer encoder-decoder (Beltagy et al. 2020, "Longformer: The Long-Document
//! Transformer").
//!
//! Agrees with `transformers/models/led/modeling_led.py`: BART, whose encoder sees half an
//! `attention_window` to either side, with learned positions from the first row of their table. No
//! token has global attention, as when transformers is given no `global_attention_mask`, and as
//! `run_summarization.py` trains it; the weights for that are left out.

use epitome_runtime::bundle::Layout;

use super::blocks::attention::{Attention, MASKED, Projections, split_heads};
use super::blocks::bart::{Defaults, EmbeddingNorm, Family, Model};
use super::blocks::decoder_io::EncoderInputs;
use super::blocks::local_attention::{Blocks, neighbours, within};
use super::blocks::norm::Placement;
use super::blocks::plain_attention::{scores, shares};
use super::blocks::positions::Positions;
use super::blocks::transformer::StackNames;
use super::config::wrong;
use super::{Architecture, Builder, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;
use crate::onnx::graph::Value;

/// `model_type` "led".
pub(super) struct Led;

const FAMILY: Family = Family {
    title: "LED",
    encoder: StackNames::bart("led.encoder"),
    decoder: StackNames::bart("led.decoder"),
    tables: &[
        "led.shared.weight",
        "led.encoder.embed_tokens.weight",
        "led.decoder.embed_tokens.weight",
        "lm_head.weight",
    ],
    placement: Placement::Post,
    embedding_norm: EmbeddingNorm::Sum,
    positions: Positions::Learned { offset: 0 },
    defaults: Defaults::BART,
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

impl Architecture for Led {
    fn model_type(&self) -> &'static str {
        "led"
    }

    fn generation_defaults(&self) -> &'static [(&'static str, u32)] {
        &[
            ("bos_token_id", 0),
            ("decoder_start_token_id", 2),
            ("eos_token_id", 2),
            ("pad_token_id", 1),
        ]
    }

    fn build(
        &self,
        config: &ModelConfig,
        layout: Layout,
        weights: &mut ModelWeights<'_>,
    ) -> Result<Graphs> {
        let mut model = Model::new(config, &FAMILY)?;
        model.encoder.attention.names = PROJECTIONS;
        // Its configuration has no `scale_embedding`.
        model.embedding_scale = None;
        model.source_positions.positions =
            config.size_or("max_encoder_position_embeddings", 16384)?;
        model.target_positions.positions =
            config.size_or("max_decoder_position_embeddings", 1024)?;
        let windows = config.sizes_or("attention_window", 512, model.encoder.layers)?;
        if let Some(odd) = windows.iter().find(|window| !window.is_multiple_of(2)) {
            return Err(wrong(
                "attention_window",
                format_args!("holds {odd}, but must be even"),
            ));
        }
        for layer in 0..model.encoder.layers {
            let name = model.encoder.names.layer(layer);
            for part in GLOBAL
                .iter()
                .flat_map(|part| [(part, "weight"), (part, "bias")])
            {
                let (part, kind) = part;
                weights.pass_over(&[&format!(
                    "{name}.self_attn.longformer_self_attn.{part}.{kind}"
                )]);
            }
        }
        model.graphs_with(layout, weights, &|b, model, inputs, x| {
            encoder(b, model, inputs, x, &windows)
        })
    }
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
            let rows = attention.into_heads(b, name, part, x)?;
            let split = split_heads(b, &rows, &inputs.shape, heads);
            Ok(self.blocks.split(b, &split, heads))
        };
        let names = attention.names;
        let [query, key, value] = [
            project(names.query)?,
            project(names.key)?,
            project(names.value)?,
        ];
        let scale = b.graph.scalar(attention.score_scale());
        let query = b.graph.node("Mul").inputs([&query, &scale]).output();
        let [key, value] = [key, value].map(|x| neighbours(b, &x, 3, 0.0));
        let scores = scores(b, &query, &key, 5);
        let shares = shares(b, &scores, &[&self.band, &self.mask]);
        let attended = b.graph.node("MatMul").inputs([&shares, &value]).output();
        let attended = self.blocks.join(b, &attended, inputs, heads);
        attention.out_of_heads(b, name, &attended)
    }
}

fn encoder(
    b: &mut Builder<'_, '_>,
    model: &Model,
    inputs: &EncoderInputs,
    x: &Value,
    windows: &[usize],
) -> Result<Value> {
    let mut sizes = windows.to_vec();
    sizes.sort_unstable();
    sizes.dedup();
    let prepared: Vec<Window> = b.scoped("windows", |b| {
        Ok(sizes
            .iter()
            .map(|window| Window::new(b, inputs, *window))
            .collect())
    })?;
    let attention = &model.encoder.attention;
    model.encoder.encoder(b, x, &mut |b, (layer, name), x| {
        let window = sizes.partition_point(|size| *size < windows[layer]);
        prepared[window].attend(b, (attention, name), x, inputs)
    })
}
