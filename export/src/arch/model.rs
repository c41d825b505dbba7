//! A model with all its sizes, and the graphs that it becomes. Every architecture is a [`Model`]:
//! what sets them apart are the values in it.

use epitome_runtime::bundle::{DECODER, DRAFT, ENCODER, Layout, ModelShape};
use epitome_runtime::generation::GlobalAttentionMask;

use super::blocks::activation::Activation;
use super::blocks::embedding::{TiedTables, embed};
use super::blocks::heads::flatten;
use super::blocks::inputs::{EncoderInputs, NewTokens};
use super::blocks::io::{decoder_inputs, decoder_outputs, encoder_inputs, encoder_outputs};
use super::blocks::matrix::Matrix;
use super::blocks::positions::{PositionKind, PositionTable};
use super::blocks::relative_bias::{BiasLayers, RelativeBias, relative_of_step};
use super::blocks::transformer::Stack;
use super::builder::{Builder, Side};
use super::config::ModelConfig;
use super::weights::ModelWeights;
use crate::error::{Error, Result};
use crate::onnx::graph::{Graph, Value};
use crate::optimum::names as optimum;

/// The graphs of a model, and the sizes the runtime needs to run them.
pub(crate) struct Graphs {
    /// Each with the name of its file.
    pub(crate) files: Vec<(&'static str, Graph)>,
    /// Sizes of all.
    pub(crate) shape: ModelShape,
}

/// What `layernorm_embedding` is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EmbeddingNorm {
    /// There is none.
    None,
    /// The sum of tokens and positions.
    Sum,
    /// That sum in the encoder, and the tokens alone in the decoder (BlenderbotSmall).
    SumThenTokens,
}

/// Writes an encoder's layers, from embedded tokens of `[batch * source, hidden]` to hidden states
/// of the same shape.
pub(crate) type EncoderLayers =
    Box<dyn Fn(&mut Builder<'_, '_>, &Stack, &EncoderInputs, &Value) -> Result<Value>>;

/// Old checkpoints hold this bias of the logits, mostly zeros.
const LOGITS_BIAS: &str = "final_logits_bias";

/// The sizes and choices of one model.
pub(crate) struct Model {
    /// Name of the architecture, for the graphs' documentation.
    pub(crate) title: &'static str,
    /// The encoder.
    pub(crate) encoder: Stack,
    /// How the encoder's layers are written.
    pub(crate) encoder_layers: EncoderLayers,
    /// The decoder.
    pub(crate) decoder: Stack,
    /// Names of the tied embedding tables: the leading one, the encoder's, the decoder's, the
    /// output's.
    pub(crate) tables: &'static [&'static str; 4],
    /// Tokens of the source.
    pub(crate) source_vocab_size: usize,
    /// Tokens of the summary.
    pub(crate) vocab_size: usize,
    /// Whether source and summary have tables of their own, of which the decoder's is tied to the
    /// output (Marian).
    pub(crate) separate_tables: bool,
    /// What embedded tokens are multiplied with.
    pub(crate) embedding_scale: Option<f32>,
    /// What is normalized before the first layer.
    pub(crate) embedding_norm: EmbeddingNorm,
    /// Positions that are added to the source's embedded tokens.
    pub(crate) source_positions: Option<PositionTable>,
    /// Positions that are added to the summary's embedded tokens.
    pub(crate) target_positions: Option<PositionTable>,
    /// What is added to the scores of the decoder's self-attention.
    pub(crate) target_bias: Option<RelativeBias>,
    /// Most tokens of a source.
    pub(crate) max_source_positions: usize,
    /// Most tokens of a summary that the decoder reads; `None` where its positions have no end.
    pub(crate) max_target_positions: Option<usize>,
    /// What the last hidden states are multiplied with.
    pub(crate) output_scale: Option<f32>,
    /// Whether the output may do without a table of its own.
    pub(crate) tied_output: bool,
    /// Which tokens have global attention where nobody says it; none for models without it.
    pub(crate) global_attention_mask: Option<GlobalAttentionMask>,
    /// Tensors that some checkpoints hold and nothing reads.
    pub(crate) unused: Vec<String>,
}

impl Model {
    /// Writes the graphs; the weights stream into the weight file on the way.
    pub(crate) fn graphs(&self, layout: Layout, weights: &mut ModelWeights<'_>) -> Result<Graphs> {
        let encoder = self.encoder_graph(layout, weights)?;
        let several = self.decoder_graph(layout, NewTokens::Several, weights)?;
        let files = match layout {
            Layout::Optimum => vec![(optimum::ENCODER, encoder), (optimum::DECODER, several)],
            Layout::Bundle => {
                let one = self.decoder_graph(layout, NewTokens::One, weights)?;
                vec![(ENCODER, encoder), (DECODER, one), (DRAFT, several)]
            }
        };
        // Where every table is its own, nothing reads the leading one.
        weights.pass_over(self.tables);
        weights.pass_over(&[LOGITS_BIAS]);
        for name in &self.unused {
            weights.pass_over(&[name]);
        }
        Ok(Graphs { files, shape: self.shape() })
    }

    /// Sets which tokens have global attention where nobody says it.
    pub(crate) fn set_global_attention_mask(
        &mut self,
        mask: &GlobalAttentionMask,
        model_type: &'static str,
    ) -> Result<()> {
        match &mut self.global_attention_mask {
            Some(own) => own.clone_from(mask),
            None if mask.is_none() => {}
            None => return Err(Error::NoGlobalAttention { model_type }),
        }
        Ok(())
    }

    /// Size of a hidden state.
    pub(crate) fn hidden(&self) -> usize {
        self.encoder.norm.size
    }

    /// Has both position tables count past the `pad_token_id` of config.json.
    pub(crate) fn count_past_padding(&mut self, config: &ModelConfig) -> Result<()> {
        let tables = [&mut self.source_positions, &mut self.target_positions];
        for table in tables.into_iter().flatten() {
            if let PositionKind::Counted { padding } = &mut table.kind {
                *padding = config.token_or("pad_token_id", *padding, self.source_vocab_size)?;
            }
        }
        Ok(())
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
            max_source_positions: self.max_source_positions,
            max_target_positions: self.max_target_positions,
            global_attention: self.global_attention_mask.is_some(),
        }
    }

    fn encoder_graph(&self, layout: Layout, weights: &mut ModelWeights<'_>) -> Result<Graph> {
        let doc = format!(
            "{} encoder: what it makes of a document's tokens, once for each document.",
            self.title
        );
        let mut b = Builder::new(Side::Encoder, &doc, layout, weights);
        let inputs = encoder_inputs(&mut b, self.global_attention_mask.as_ref());
        let names = &self.encoder.names;
        let x = b.scoped("embed", |b| {
            let table = names.below("embed_tokens.weight");
            let table = self.table(b, &table, self.source_vocab_size)?;
            let mut x = embed(b, &table, &inputs.input_ids, self.embedding_scale);
            if let Some(table) = &self.source_positions {
                let positions = table.of_source(b, &names.below("embed_positions"), &inputs)?;
                x = b.graph.node("Add").inputs([&x, &positions]).output();
            }
            let x = flatten(b, &x, self.hidden());
            match self.embedding_norm {
                EmbeddingNorm::None => Ok(x),
                _ => normalize_embedding(b, &self.encoder, &x),
            }
        })?;
        let x = (self.encoder_layers)(&mut b, &self.encoder, &inputs, &x)?;
        encoder_outputs(&mut b, &x, &inputs, &self.decoder)?;
        Ok(b.graph)
    }

    fn decoder_graph(
        &self,
        layout: Layout,
        new: NewTokens,
        weights: &mut ModelWeights<'_>,
    ) -> Result<Graph> {
        let doc = format!("{} decoder: {}", self.title, new.doc());
        let logits_bias = weights.is_nonzero(LOGITS_BIAS);
        let mut b = Builder::new(Side::Decoder, &doc, layout, weights);
        let (inputs, mut caches) = decoder_inputs(&mut b, new, &self.decoder);
        let names = &self.decoder.names;
        let x = b.scoped("embed", |b| {
            let table = self.table(b, &names.below("embed_tokens.weight"), self.vocab_size)?;
            let mut x = embed(b, &table, &inputs.input_ids, self.embedding_scale);
            if self.embedding_norm == EmbeddingNorm::SumThenTokens {
                x = normalize_embedding(b, &self.decoder, &x)?;
            }
            if let Some(table) = &self.target_positions {
                let positions = table.of_step(b, &names.below("embed_positions"), &inputs)?;
                x = b.graph.node("Add").inputs([&x, &positions]).output();
            }
            let x = flatten(b, &x, self.hidden());
            match self.embedding_norm {
                EmbeddingNorm::Sum => normalize_embedding(b, &self.decoder, &x),
                _ => Ok(x),
            }
        })?;
        if let Some(bias) = &self.target_bias {
            b.scoped("relative_bias", |b| {
                let relative = relative_of_step(b, &inputs);
                let mut newest = None;
                for (layer, cache) in caches.iter_mut().enumerate() {
                    if newest.is_none() || bias.layers == BiasLayers::Every {
                        newest = Some(bias.added(b, &bias.name(names, layer), &relative)?);
                    }
                    cache.bias.clone_from(&newest);
                }
                Ok(())
            })?;
        }
        let x = self.decoder.decoder(&mut b, &x, &inputs, &mut caches)?;
        let logits = b.scoped("lm_head", |b| {
            let x = match self.output_scale {
                Some(scale) => {
                    let scale = b.graph.scalar(scale);
                    b.graph.node("Mul").inputs([&x, &scale]).output()
                }
                None => x,
            };
            let name = self.tables[3];
            let table = match self.tied_output {
                true => self.table(b, name, self.vocab_size)?,
                false => Matrix::table(b, name, (self.vocab_size, self.hidden()))?,
            };
            let bias = match logits_bias {
                true => Some(b.logits_bias(LOGITS_BIAS, &[1, self.vocab_size])?),
                false => None,
            };
            Ok(table.product(b, &x, bias.as_ref(), Activation::Identity))
        })?;
        let vocab_size = self.vocab_size;
        decoder_outputs(&mut b, &logits, vocab_size, &inputs, &caches, &self.decoder);
        Ok(b.graph)
    }

    fn table(&self, b: &mut Builder<'_, '_>, name: &str, vocab_size: usize) -> Result<Matrix> {
        let tables: &'static [&'static str] = self.tables;
        let names = match self.separate_tables {
            false => tables,
            true if name == tables[1] => &tables[1..2],
            true => &tables[2..],
        };
        let tables = TiedTables { names, vocab_size, hidden: self.hidden() };
        tables.table(b, name)
    }
}

fn normalize_embedding(b: &mut Builder<'_, '_>, stack: &Stack, x: &Value) -> Result<Value> {
    let name = stack.names.below("layernorm_embedding");
    stack.norm.apply(b, &name, x)
}
