//! The models of transformers' T5 family: pre-norm layers with root-mean-square norms, no biases, no
//! positions but a relative bias in self-attention, described by a [`Family`].

use epitome_runtime::bundle::{Layout, ModelShape};

use super::activation::Activation;
use super::attention::{Attention, Heads, Projections, rows};
use super::decoder_io::{
    EncoderInputs, NewTokens, decoder_inputs, decoder_outputs, encoder_inputs, encoder_outputs,
};
use super::embedding::{TiedTables, embed};
use super::matrix::Matrix;
use super::norm::{Norm, NormKind, Placement};
use super::relative_bias::{RelativeBias, relative_of_source, relative_of_step};
use super::transformer::{FeedForward, FeedForwardNames, Stack, StackNames};
use crate::arch::config::wrong;
use crate::arch::{Builder, Graphs, ModelConfig, ModelWeights, Side};
use crate::error::Result;
use crate::onnx::graph::{Graph, Value};

/// What sets a family's models apart from each other's.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name, for the graphs' documentation.
    pub title: &'static str,
    /// What config.json says where it says nothing.
    pub defaults: Defaults,
    /// Which layers have a relative bias of their own; the others share the first one's.
    pub biases: Biases,
    /// Name of the encoder's self-attention.
    pub encoder_attention: &'static str,
    /// Most source tokens: nothing in these models ends, but memory does, and attention over the
    /// whole source takes it by the square.
    pub source_limit: usize,
}

/// Which layers have a relative bias of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Biases {
    /// The first.
    First,
    /// Every one.
    Every,
}

/// The values of transformers' configuration class.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// `vocab_size`
    pub vocab_size: usize,
    /// `d_ff`
    pub inner: usize,
    /// `num_layers`
    pub layers: usize,
    /// `num_heads`
    pub heads: usize,
    /// `feed_forward_proj`
    pub feed_forward: &'static str,
}

/// The names of the tied tables, the leading one first.
const TABLES: &[&str] = &[
    "shared.weight",
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "lm_head.weight",
];
/// A tensor of old checkpoints that nothing reads.
const UNUSED: &str = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";
/// Most tokens of a summary.
const TARGET_LIMIT: usize = 4096;

/// Writes an encoder's layers, from embedded tokens of `[batch * source, hidden]` to hidden states of
/// the same shape.
pub type EncoderBody<'f> =
    dyn Fn(&mut Builder<'_, '_>, &Model, &EncoderInputs, &Value) -> Result<Value> + 'f;

/// The sizes and choices of one model.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its family.
    pub family: Family,
    /// The encoder.
    pub encoder: Stack,
    /// The decoder.
    pub decoder: Stack,
    /// How the encoder's distances fall into buckets.
    pub source_bias: RelativeBias,
    /// How the decoder's do.
    pub target_bias: RelativeBias,
    vocab_size: usize,
    /// What hidden states are multiplied with before the output table.
    output_scale: Option<f32>,
}

impl Model {
    /// The model of a family that `config` describes; with `scaled_output` its last hidden states
    /// are divided by the root of their size.
    pub fn new(config: &ModelConfig, family: &Family, scaled_output: bool) -> Result<Self> {
        let defaults = &family.defaults;
        let hidden = config.size_or("d_model", 512)?;
        let heads = Heads {
            count: config.size_or("num_heads", defaults.heads)?,
            size: config.size_or("d_kv", 64)?,
        };
        let attention = Attention {
            heads,
            hidden,
            names: Projections::T5,
            scale: Some(1.0),
        };
        let norm = Norm {
            kind: NormKind::RootMeanSquare,
            size: hidden,
            epsilon: config.positive_or("layer_norm_epsilon", 1e-6)?,
            placement: Placement::Pre,
        };
        let feed_forward = feed_forward(config, defaults)?;
        let stack = |names, layers| Stack {
            names,
            layers,
            attention,
            feed_forward,
            norm,
        };
        let layers = config.size_or("num_layers", defaults.layers)?;
        let encoder = StackNames {
            stack: "encoder",
            layers: "block",
            within: ".layer",
            self_attention: [family.encoder_attention, "0.layer_norm"],
            cross_attention: ["1.EncDecAttention", "1.layer_norm"],
            feed_forward: ["1.DenseReluDense", "1.layer_norm"],
            closing_norm: "final_layer_norm",
        };
        let decoder = StackNames {
            stack: "decoder",
            self_attention: ["0.SelfAttention", "0.layer_norm"],
            feed_forward: ["2.DenseReluDense", "2.layer_norm"],
            ..encoder
        };
        Ok(Self {
            family: *family,
            encoder: stack(encoder, layers),
            decoder: stack(decoder, config.size_or("num_decoder_layers", layers)?),
            source_bias: RelativeBias::from_config(config, heads.count, true)?,
            target_bias: RelativeBias::from_config(config, heads.count, false)?,
            vocab_size: config.size_or("vocab_size", defaults.vocab_size)?,
            output_scale: scaled_output.then(|| (hidden as f32).sqrt().recip()),
        })
    }

    /// Both graphs, the encoder's self-attention reaching over the whole source.
    pub fn graphs(&self, layout: Layout, weights: &mut ModelWeights<'_>) -> Result<Graphs> {
        self.graphs_with(layout, weights, &full_attention)
    }

    /// Both graphs, the encoder's layers written by `body`.
    pub fn graphs_with(
        &self,
        layout: Layout,
        weights: &mut ModelWeights<'_>,
        body: &EncoderBody<'_>,
    ) -> Result<Graphs> {
        let encoder = self.encoder_graph(layout, weights, body)?;
        let several = self.decoder_graph(layout, NewTokens::Several, weights)?;
        let (decoder, draft) = match layout {
            Layout::Optimum => (several, None),
            Layout::Bundle => {
                let one = self.decoder_graph(layout, NewTokens::One, weights)?;
                (one, Some(several))
            }
        };
        weights.pass_over(TABLES);
        weights.pass_over(&[UNUSED]);
        Ok(Graphs {
            encoder,
            decoder,
            draft,
            shape: self.shape(),
        })
    }

    fn shape(&self) -> ModelShape {
        let heads = self.decoder.attention.heads;
        ModelShape {
            hidden_size: self.hidden(),
            encoder_layers: self.encoder.layers,
            decoder_layers: self.decoder.layers,
            heads: heads.count,
            head_size: heads.size,
            vocab_size: self.vocab_size,
            source_vocab_size: None,
            max_source_positions: self.family.source_limit,
            max_target_positions: TARGET_LIMIT,
        }
    }

    fn hidden(&self) -> usize {
        self.encoder.norm.size
    }

    fn encoder_graph(
        &self,
        layout: Layout,
        weights: &mut ModelWeights<'_>,
        body: &EncoderBody<'_>,
    ) -> Result<Graph> {
        let doc = format!(
            "{} encoder: what it makes of a document's tokens, once for each document.",
            self.family.title
        );
        let mut b = Builder::new(Side::Encoder, &doc, layout, weights);
        let inputs = encoder_inputs(&mut b);
        let x = b.scoped("embed", |b| {
            let table = self.table(b, &self.encoder.names.below("embed_tokens.weight"))?;
            let x = embed(b, &table, &inputs.input_ids, None);
            Ok(rows(b, &x, self.hidden()))
        })?;
        let x = body(&mut b, self, &inputs, &x)?;
        encoder_outputs(&mut b, &x, &inputs, &self.decoder)?;
        Ok(b.graph)
    }

    fn decoder_graph(
        &self,
        layout: Layout,
        new: NewTokens,
        weights: &mut ModelWeights<'_>,
    ) -> Result<Graph> {
        let doc = format!("{} decoder: {}", self.family.title, new.doc());
        let mut b = Builder::new(Side::Decoder, &doc, layout, weights);
        let heads = self.decoder.attention.heads;
        let (inputs, mut caches) = decoder_inputs(&mut b, new, &self.decoder);
        let x = b.scoped("embed", |b| {
            let table = self.table(b, &self.decoder.names.below("embed_tokens.weight"))?;
            let x = embed(b, &table, &inputs.input_ids, None);
            Ok(rows(b, &x, self.hidden()))
        })?;
        b.scoped("relative_bias", |b| {
            let relative = relative_of_step(b, &inputs);
            let mut newest = None;
            for (layer, cache) in caches.iter_mut().enumerate() {
                if newest.is_none() || self.family.biases == Biases::Every {
                    let name = self.bias_name(&self.decoder, layer);
                    newest = Some(self.target_bias.added(b, &name, &relative)?);
                }
                cache.bias.clone_from(&newest);
            }
            Ok(())
        })?;
        let x = self.decoder.decoder(&mut b, &x, &inputs, &mut caches)?;
        let logits = b.scoped("lm_head", |b| {
            let x = match self.output_scale {
                Some(scale) => {
                    let scale = b.graph.scalar(scale);
                    b.graph.node("Mul").inputs([&x, &scale]).output()
                }
                None => x,
            };
            let table = self.table(b, "lm_head.weight")?;
            Ok(table.product(b, &x, None, Activation::Identity))
        })?;
        decoder_outputs(&mut b, &logits, self.vocab_size, &inputs, &caches, heads);
        Ok(b.graph)
    }

    fn table(&self, b: &mut Builder<'_, '_>, name: &str) -> Result<Matrix> {
        let tables = TiedTables {
            names: TABLES,
            vocab_size: self.vocab_size,
            hidden: self.hidden(),
        };
        tables.table(b, name)
    }

    /// Checkpoint prefix of the relative bias that a layer uses.
    pub fn bias_name(&self, stack: &Stack, layer: usize) -> String {
        let layer = match self.family.biases {
            Biases::First => 0,
            Biases::Every => layer,
        };
        let [attention, _] = stack.names.self_attention;
        format!(
            "{}.{attention}.relative_attention_bias",
            stack.names.layer(layer)
        )
    }
}

/// `feed_forward_proj`: the name of an activation function, `gated-` before it where there is a gate.
fn feed_forward(config: &ModelConfig, defaults: &Defaults) -> Result<FeedForward> {
    const FIELD: &str = "feed_forward_proj";
    let text = config.string_or(FIELD, defaults.feed_forward)?;
    let (gated, name) = match text.split_once('-') {
        None => (false, text),
        // What the T5 v1.1 checkpoints call gelu is the one with the hyperbolic tangent.
        Some(("gated", "gelu")) => (true, "gelu_new"),
        Some(("gated", name)) => (true, name),
        Some(_) => {
            return Err(wrong(
                FIELD,
                format_args!("is '{text}', but must be an activation function or gated-<one>"),
            ));
        }
    };
    Ok(FeedForward {
        inner: config.size_or("d_ff", defaults.inner)?,
        activation: Activation::named(FIELD, name)?,
        names: match gated {
            true => FeedForwardNames::Gated(["wi_0", "wi_1", "wo"]),
            false => FeedForwardNames::Plain(["wi", "wo"]),
        },
    })
}

/// The encoder's layers, with self-attention over the whole source.
pub fn full_attention(
    b: &mut Builder<'_, '_>,
    model: &Model,
    inputs: &EncoderInputs,
    x: &Value,
) -> Result<Value> {
    let attention = &model.encoder.attention;
    let biases = b.scoped("relative_bias", |b| {
        let relative = relative_of_source(b, inputs);
        let own = match model.family.biases {
            Biases::First => 1,
            Biases::Every => model.encoder.layers,
        };
        (0..own)
            .map(|layer| {
                let name = model.bias_name(&model.encoder, layer);
                model.source_bias.added(b, &name, &relative)
            })
            .collect::<Result<Vec<_>>>()
    })?;
    model.encoder.encoder(b, x, &mut |b, (layer, name), x| {
        let bias = &biases[layer.min(biases.len() - 1)];
        attention.over_source(b, name, x, inputs, Some(bias))
    })
}
