//! The models of transformers' BART family: one structure, described by a [`Family`].

use epitome_runtime::bundle::{Layout, ModelShape};

use super::activation::Activation;
use super::attention::{Attention, Heads, Projections, rows};
use super::decoder_io::{
    EncoderInputs, NewTokens, decoder_inputs, decoder_outputs, encoder_inputs, encoder_outputs,
};
use super::embedding::{TiedTables, embed};
use super::matrix::Matrix;
use super::norm::{Norm, NormKind, Placement};
use super::positions::{PositionTable, Positions};
use super::transformer::{FeedForward, FeedForwardNames, Stack, StackNames};
use crate::arch::{Builder, Graphs, ModelConfig, ModelWeights, Side};
use crate::error::Result;
use crate::onnx::graph::{Graph, Value};

/// What sets a family's models apart from each other's.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name, for the graphs' documentation.
    pub title: &'static str,
    /// Names of the encoder's parts.
    pub encoder: StackNames,
    /// Names of the decoder's parts.
    pub decoder: StackNames,
    /// Names of the tied embedding tables: the leading one, the encoder's, the decoder's, the
    /// output's.
    pub tables: &'static [&'static str; 4],
    /// Where layers normalize.
    pub placement: Placement,
    /// What is normalized before the first layer.
    pub embedding_norm: EmbeddingNorm,
    /// Where positions come from.
    pub positions: Positions,
    /// What config.json says where it says nothing.
    pub defaults: Defaults,
}

/// What `layernorm_embedding` is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingNorm {
    /// There is none.
    None,
    /// The sum of tokens and positions.
    Sum,
    /// That sum in the encoder, and the tokens alone in the decoder (BlenderbotSmall).
    SumThenTokens,
}

/// The values of transformers' configuration class.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// `d_model`
    pub hidden: usize,
    /// `vocab_size`
    pub vocab_size: usize,
    /// `max_position_embeddings`
    pub positions: usize,
    /// `encoder_layers`, `encoder_attention_heads` and `encoder_ffn_dim`.
    pub encoder: [usize; 3],
    /// `decoder_layers`, `decoder_attention_heads` and `decoder_ffn_dim`.
    pub decoder: [usize; 3],
    /// `activation_function`
    pub activation: &'static str,
    /// `scale_embedding`
    pub scale_embedding: bool,
}

impl Defaults {
    /// Those of `transformers/models/bart/configuration_bart.py`.
    pub const BART: Self = Self {
        hidden: 1024,
        vocab_size: 50265,
        positions: 1024,
        encoder: [12, 16, 4096],
        decoder: [12, 16, 4096],
        activation: "gelu",
        scale_embedding: false,
    };
}

/// The names of the tied tables of most families.
pub const TABLES: [&str; 4] = [
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
];
const LOGITS_BIAS: &str = "final_logits_bias";

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
    /// Positions of the source.
    pub source_positions: PositionTable,
    /// Positions of the summary.
    pub target_positions: PositionTable,
    /// Tokens of the source.
    pub source_vocab_size: usize,
    /// Tokens of the summary.
    pub vocab_size: usize,
    /// Whether source and summary have tables of their own, of which the decoder's is tied to the
    /// output (Marian).
    pub separate_tables: bool,
    /// What embedded tokens are multiplied with.
    pub embedding_scale: Option<f32>,
    /// Whether the output may do without a table of its own.
    pub tied_output: bool,
}

impl Model {
    /// The model of a family that `config` describes.
    pub fn new(config: &ModelConfig, family: &Family) -> Result<Self> {
        let defaults = &family.defaults;
        let hidden = config.size_or("d_model", defaults.hidden)?;
        let activation =
            Activation::from_config_or(config, "activation_function", defaults.activation)?;
        let norm = Norm {
            kind: NormKind::Layer,
            size: hidden,
            epsilon: 1e-5,
            placement: family.placement,
        };
        let stack = |names, side: &str, [layers, heads, inner]: [usize; 3]| -> Result<Stack> {
            let count = config.heads_or(&format!("{side}_attention_heads"), heads, hidden)?;
            Ok(Stack {
                names,
                layers: config.size_or(&format!("{side}_layers"), layers)?,
                attention: Attention {
                    heads: Heads {
                        count,
                        size: hidden / count,
                    },
                    hidden,
                    names: Projections::BART,
                    scale: None,
                },
                feed_forward: FeedForward {
                    inner: config.size_or(&format!("{side}_ffn_dim"), inner)?,
                    activation,
                    names: FeedForwardNames::Plain(["fc1", "fc2"]),
                },
                norm,
            })
        };
        let vocab_size = config.size_or("vocab_size", defaults.vocab_size)?;
        let table = PositionTable {
            kind: family.positions,
            positions: config.size_or("max_position_embeddings", defaults.positions)?,
            hidden,
        };
        Ok(Self {
            family: *family,
            encoder: stack(family.encoder, "encoder", defaults.encoder)?,
            decoder: stack(family.decoder, "decoder", defaults.decoder)?,
            source_positions: table,
            target_positions: table,
            source_vocab_size: vocab_size,
            vocab_size,
            separate_tables: false,
            embedding_scale: config
                .flag("scale_embedding", defaults.scale_embedding)?
                .then(|| (hidden as f32).sqrt()),
            tied_output: config.flag("tie_word_embeddings", true)?,
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
        // Left by fairseq in old checkpoints.
        for stack in [self.encoder.names, self.decoder.names] {
            weights.pass_over(&[&stack.below("version")]);
        }
        // Where every table is its own, nothing reads the leading one.
        weights.pass_over(self.family.tables);
        weights.pass_over(&[LOGITS_BIAS]);
        Ok(Graphs {
            encoder,
            decoder,
            draft,
            shape: self.shape(),
        })
    }

    /// Size of a hidden state.
    pub fn hidden(&self) -> usize {
        self.encoder.norm.size
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
            source_vocab_size: (self.source_vocab_size != self.vocab_size)
                .then_some(self.source_vocab_size),
            max_source_positions: self.source_positions.positions,
            max_target_positions: self.target_positions.positions,
        }
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
        let names = &self.encoder.names;
        let x = b.scoped("embed", |b| {
            let table = self.table(
                b,
                &names.below("embed_tokens.weight"),
                self.source_vocab_size,
            )?;
            let embedded = embed(b, &table, &inputs.input_ids, self.embedding_scale);
            let positions =
                self.source_positions
                    .of_source(b, &names.below("embed_positions"), &inputs)?;
            let x = b.graph.node("Add").inputs([&embedded, &positions]).output();
            let x = rows(b, &x, self.hidden());
            match self.family.embedding_norm {
                EmbeddingNorm::None => Ok(x),
                _ => self.embedding_norm(b, &self.encoder, &x),
            }
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
        let logits_bias = weights.is_nonzero(LOGITS_BIAS);
        let mut b = Builder::new(Side::Decoder, &doc, layout, weights);
        let heads = self.decoder.attention.heads;
        let (inputs, mut caches) = decoder_inputs(&mut b, new, &self.decoder);
        let names = &self.decoder.names;
        let x = b.scoped("embed", |b| {
            let table = self.table(b, &names.below("embed_tokens.weight"), self.vocab_size)?;
            let mut x = embed(b, &table, &inputs.input_ids, self.embedding_scale);
            if self.family.embedding_norm == EmbeddingNorm::SumThenTokens {
                x = self.embedding_norm(b, &self.decoder, &x)?;
            }
            let position =
                self.target_positions
                    .of_step(b, &names.below("embed_positions"), &inputs)?;
            let x = b.graph.node("Add").inputs([&x, &position]).output();
            let x = rows(b, &x, self.hidden());
            match self.family.embedding_norm {
                EmbeddingNorm::Sum => self.embedding_norm(b, &self.decoder, &x),
                _ => Ok(x),
            }
        })?;
        let x = self.decoder.decoder(&mut b, &x, &inputs, &mut caches)?;
        let logits = b.scoped("lm_head", |b| {
            let name = self.family.tables[3];
            let table = match self.tied_output {
                true => self.table(b, name, self.vocab_size)?,
                false => Matrix::table(b, name, (self.vocab_size, self.hidden()))?,
            };
            let bias = match logits_bias {
                true => Some(b.weight(LOGITS_BIAS, &[1, self.vocab_size])?),
                false => None,
            };
            Ok(table.product(b, &x, bias.as_ref(), Activation::Identity))
        })?;
        decoder_outputs(&mut b, &logits, self.vocab_size, &inputs, &caches, heads);
        Ok(b.graph)
    }

    fn table(&self, b: &mut Builder<'_, '_>, name: &str, vocab_size: usize) -> Result<Matrix> {
        let tables: &'static [&'static str] = self.family.tables;
        let names = match self.separate_tables {
            false => tables,
            true if name == tables[1] => &tables[1..2],
            true => &tables[2..],
        };
        let tables = TiedTables {
            names,
            vocab_size,
            hidden: self.hidden(),
        };
        tables.table(b, name)
    }

    fn embedding_norm(&self, b: &mut Builder<'_, '_>, stack: &Stack, x: &Value) -> Result<Value> {
        let name = stack.names.below("layernorm_embedding");
        stack.norm.apply(b, &name, x)
    }
}

/// The encoder's layers, with self-attention over the whole source.
pub fn full_attention(
    b: &mut Builder<'_, '_>,
    model: &Model,
    inputs: &EncoderInputs,
    x: &Value,
) -> Result<Value> {
    let attention = &model.encoder.attention;
    model.encoder.encoder(b, x, &mut |b, (_, name), x| {
        attention.over_source(b, name, x, inputs, None)
    })
}
