//! PEGASUS (Zhang et al. 2019, "PEGASUS: Pre-training with Extracted Gap-sentences for Abstractive
//! Summarization").
//!
//! Agrees with `transformers/models/pegasus/modeling_pegasus.py`: pre-norm layers with a closing
//! norm, sinusoidal positions (those of the checkpoint where it holds them, which matters for one
//! saved in half precision; computed otherwise), embeddings scaled by `sqrt(d_model)` when
//! `scale_embedding` is set, one embedding table for encoder, decoder and output, and a
//! `final_logits_bias`.

use epitome_runtime::bundle::ModelShape;

use super::blocks::activation::Activation;
use super::blocks::attention::{Heads, cross_memory};
use super::blocks::decoder_io::{
    decoder_inputs, decoder_outputs, encoder_inputs, encoder_outputs, split_shape,
};
use super::blocks::linear::product;
use super::blocks::norm::{Norm, Placement};
use super::blocks::positions::sinusoidal;
use super::blocks::transformer::Stack;
use super::{Architecture, Builder, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;
use crate::onnx::graph::{Graph, Value};

/// `model_type` "pegasus".
pub(super) struct Pegasus;

/// The names under which a checkpoint may hold the embedding table. transformers 4 repeats the tied
/// tensor under all of them, transformers 5 keeps the first.
const EMBEDDING: &[&str] = &[
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
];
const LOGITS_BIAS: &str = "final_logits_bias";
/// Key of the computed position table in the weight file.
const COMPUTED_POSITIONS: &str = "embed_positions.weight";

impl Architecture for Pegasus {
    fn model_type(&self) -> &'static str {
        "pegasus"
    }

    fn generation_defaults(&self) -> &'static [(&'static str, u32)] {
        &[
            ("decoder_start_token_id", 0),
            ("eos_token_id", 1),
            ("forced_eos_token_id", 1),
            ("pad_token_id", 0),
        ]
    }

    fn build(&self, config: &ModelConfig, weights: &mut ModelWeights<'_>) -> Result<Graphs> {
        let model = Model::new(config)?;
        let encoder = model.encoder_graph(weights)?;
        let decoder = model.decoder_graph(weights)?;
        weights.pass_over(&[LOGITS_BIAS]);
        Ok(Graphs {
            encoder,
            decoder,
            shape: model.shape(),
        })
    }
}

/// The sizes and choices of one model.
struct Model {
    encoder: Stack,
    decoder: Stack,
    vocab_size: usize,
    positions: usize,
    embedding_scale: Option<f32>,
}

impl Model {
    fn new(config: &ModelConfig) -> Result<Self> {
        let hidden = config.size("d_model")?;
        let activation = Activation::from_config(config, "activation_function")?;
        let norm = Norm {
            size: hidden,
            epsilon: 1e-5,
            placement: Placement::Pre,
        };
        let stack = |name, layers, heads, ffn| -> Result<Stack> {
            let count = config.heads(heads, hidden)?;
            Ok(Stack {
                name,
                layers: config.size(layers)?,
                heads: Heads {
                    count,
                    size: hidden / count,
                },
                ffn: config.size(ffn)?,
                activation,
                norm,
            })
        };
        Ok(Self {
            encoder: stack(
                "model.encoder",
                "encoder_layers",
                "encoder_attention_heads",
                "encoder_ffn_dim",
            )?,
            decoder: stack(
                "model.decoder",
                "decoder_layers",
                "decoder_attention_heads",
                "decoder_ffn_dim",
            )?,
            vocab_size: config.size("vocab_size")?,
            positions: config.size("max_position_embeddings")?,
            embedding_scale: config
                .flag("scale_embedding", false)?
                .then(|| (hidden as f32).sqrt()),
        })
    }

    fn hidden(&self) -> usize {
        self.encoder.norm.size
    }

    fn shape(&self) -> ModelShape {
        ModelShape {
            hidden_size: self.hidden(),
            encoder_layers: self.encoder.layers,
            decoder_layers: self.decoder.layers,
            heads: self.decoder.heads.count,
            head_size: self.decoder.heads.size,
            vocab_size: self.vocab_size,
            max_source_positions: self.positions,
            max_target_positions: self.positions,
        }
    }

    fn encoder_graph(&self, weights: &mut ModelWeights<'_>) -> Result<Graph> {
        let doc = "PEGASUS encoder: source tokens to the cross-attention keys and values of every \
                   decoder layer, computed once for each document.";
        let mut b = Builder::new("encoder", doc, weights);
        let inputs = encoder_inputs(&mut b, self.hidden());
        let x = b.scoped("embed", |b| {
            let (embedded, positions) = self.embed(b, &self.encoder, &inputs.input_ids)?;
            let [from, axis] = [b.graph.int64s(&[0]), b.graph.int64s(&[0])];
            let positions = b
                .graph
                .node("Slice")
                .inputs([&positions, &from, &inputs.source_length, &axis])
                .output();
            let x = b.graph.node("Add").inputs([&embedded, &positions]).output();
            Ok(self.rows(b, &x))
        })?;
        let x = self.encoder.encoder(&mut b, &x, &inputs.batch)?;
        let heads = self.decoder.heads;
        let split_shape = split_shape(&mut b, &inputs, heads);
        let memory = (0..self.decoder.layers)
            .map(|layer| {
                let name = format!("{}.encoder_attn", self.decoder.layer(layer));
                b.scoped(&name, |b| cross_memory(b, &name, &x, &split_shape, heads))
            })
            .collect::<Result<Vec<_>>>()?;
        let x = b
            .graph
            .node("Reshape")
            .inputs([&x, &inputs.batch.shape])
            .output();
        encoder_outputs(&mut b, &x, &memory, heads);
        Ok(b.graph)
    }

    fn decoder_graph(&self, weights: &mut ModelWeights<'_>) -> Result<Graph> {
        let doc = "PEGASUS decoder: one step, the first included (past_length 0). The cache is \
                   written in place and follows the beams through cache_indirection.";
        let logits_bias = weights.is_nonzero(LOGITS_BIAS);
        let mut b = Builder::new("decoder", doc, weights);
        let heads = self.decoder.heads;
        let (inputs, mut caches) = decoder_inputs(&mut b, self.decoder.layers, heads);
        let x = b.scoped("embed", |b| {
            let (embedded, positions) = self.embed(b, &self.decoder, &inputs.input_ids)?;
            let position = b
                .graph
                .node("Gather")
                .inputs([&positions, &inputs.past_length])
                .output();
            let x = b.graph.node("Add").inputs([&embedded, &position]).output();
            Ok(self.rows(b, &x))
        })?;
        let x = self.decoder.decoder(&mut b, &x, &inputs, &mut caches)?;
        let logits = b.scoped("lm_head", |b| {
            let table = self.embedding(b)?;
            let bias = match logits_bias {
                true => Some(b.weight(LOGITS_BIAS, &[1, self.vocab_size])?),
                false => None,
            };
            Ok(product(b, &x, &table, bias.as_ref()))
        })?;
        decoder_outputs(&mut b, &logits, self.vocab_size, &caches, heads);
        Ok(b.graph)
    }

    /// Embedded tokens, scaled where the model does that, and the position table.
    fn embed(&self, b: &mut Builder<'_, '_>, stack: &Stack, ids: &Value) -> Result<(Value, Value)> {
        let table = self.embedding(b)?;
        let mut embedded = b.graph.node("Gather").inputs([&table, ids]).output();
        if let Some(scale) = self.embedding_scale {
            let scale = b.graph.scalar(scale);
            embedded = b.graph.node("Mul").inputs([&embedded, &scale]).output();
        }
        Ok((embedded, self.position_table(b, stack)?))
    }

    fn position_table(&self, b: &mut Builder<'_, '_>, stack: &Stack) -> Result<Value> {
        let (positions, hidden) = (self.positions, self.hidden());
        let saved = format!("{}.embed_positions.weight", stack.name);
        if b.weights.has(&saved) {
            return b.weight(&saved, &[positions, hidden]);
        }
        let stored = b
            .weights
            .store_computed(COMPUTED_POSITIONS, &[positions, hidden], || {
                sinusoidal(positions, hidden)
            })?;
        Ok(b.graph.weight(COMPUTED_POSITIONS, &stored))
    }

    fn embedding(&self, b: &mut Builder<'_, '_>) -> Result<Value> {
        let stored = b
            .weights
            .store_tied(EMBEDDING, &[self.vocab_size, self.hidden()])?;
        Ok(b.graph.weight(EMBEDDING[0], &stored))
    }

    fn rows(&self, b: &mut Builder<'_, '_>, x: &Value) -> Value {
        let rows = b.graph.int64s(&[-1, self.hidden() as i64]);
        b.graph.node("Reshape").inputs([x, &rows]).output()
    }
}
