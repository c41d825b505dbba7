//! A model with all its sizes, and the graphs that it becomes. All architectures are values of
//! [`Model`].

use epitome_runtime::bundle::{DECODER, ENCODER, Layout, ModelShape};
use epitome_runtime::generation::GlobalAttentionMask;

use super::blocks::embedding::Embedding;
use super::blocks::inputs::{DecoderInputs, EncoderInputs, LayerCache, Memory, Tokens};
use super::blocks::io::{decoder_inputs, decoder_outputs, encoder_inputs, encoder_outputs};
use super::blocks::output::Output;
use super::blocks::positions::PositionKind;
use super::blocks::predicting::PredictingStream;
use super::blocks::prompt::Prompt;
use super::blocks::relative_bias::{BiasLayers, RelativeBias, relative_of_step};
use super::blocks::streams::stream_rows;
use super::blocks::transformer::Stack;
use super::builder::{Builder, Side};
use super::config::ModelConfig;
use super::weights::{Alias, ModelWeights};
use crate::error::{Error, Result};
use crate::onnx::graph::{Graph, Value};
use crate::optimum::names as optimum;

/// The graphs of a model, and the sizes the runtime needs to run them.
pub(crate) struct Graphs {
    /// The graphs, each with its file name.
    pub(crate) files: Vec<(&'static str, Graph)>,
    /// Sizes of the model.
    pub(crate) shape: ModelShape,
}

/// Writes an encoder's layers, from embedded tokens of `[batch * source, hidden]` to hidden states
/// of the same shape.
pub(crate) type EncoderLayers =
    Box<dyn Fn(&mut Builder<'_, '_>, &Stack, &EncoderInputs, &Value) -> Result<Value>>;

/// The sizes and choices of one model.
pub(crate) struct Model {
    /// Name of the architecture, for the graphs' documentation.
    pub(crate) title: &'static str,
    /// The encoder.
    pub(crate) encoder: Stack,
    /// Writes the encoder's layers.
    pub(crate) encoder_layers: EncoderLayers,
    /// The decoder.
    pub(crate) decoder: Stack,
    /// Embedding of the source.
    pub(crate) source: Embedding,
    /// Embedding of the summary.
    pub(crate) target: Embedding,
    /// Input of cross-attention.
    pub(crate) memory: Memory,
    /// The output layer.
    pub(crate) output: Output,
    /// Names of the tied embedding tables: the leading one, the encoder's, the decoder's, the
    /// output's.
    pub(crate) tables: [&'static str; 4],
    /// Whether source and summary have separate tables, of which the decoder's is tied to the
    /// output (Marian).
    pub(crate) separate_tables: bool,
    /// Relative bias of the decoder's self-attention.
    pub(crate) target_bias: Option<RelativeBias>,
    /// The predicting stream, from which the logits are computed.
    pub(crate) predicting: Option<PredictingStream>,
    /// Prompt before the keys and values of the decoder's self-attention.
    pub(crate) target_prompt: Option<Prompt>,
    /// Maximum number of tokens of a source.
    pub(crate) max_source_positions: usize,
    /// Maximum number of tokens of a summary that the decoder reads; `None` if positions are
    /// unlimited.
    pub(crate) max_target_positions: Option<usize>,
    /// Default of the mask of global attention; `None` for models without it.
    pub(crate) global_attention_mask: Option<GlobalAttentionMask>,
    /// Tensors that the checkpoint has under other names or in another form.
    pub(crate) aliases: Vec<(String, Alias)>,
    /// Tensors of some checkpoints that no graph reads. A name that ends in a point is a prefix.
    pub(crate) unused: Vec<String>,
}

impl Model {
    /// Writes the graphs. The weights stream into the weight file meanwhile.
    pub(crate) fn graphs(&self, layout: Layout, weights: &mut ModelWeights<'_>) -> Result<Graphs> {
        for (name, alias) in &self.aliases {
            weights.alias(name, alias);
        }
        let encoder = self.encoder_graph(layout, weights)?;
        let decoder = self.decoder_graph(layout, weights)?;
        let files = match layout {
            Layout::Optimum => vec![(optimum::ENCODER, encoder), (optimum::DECODER, decoder)],
            Layout::Bundle => vec![(ENCODER, encoder), (DECODER, decoder)],
        };
        // If all tables differ, no graph reads the leading one.
        weights.pass_over(&self.tables);
        weights.pass_over(&[self.output.bias.0]);
        for name in &self.unused {
            match name.ends_with('.') {
                true => weights.pass_over_all(name),
                false => weights.pass_over(&[name]),
            }
        }
        Ok(Graphs { files, shape: self.shape() })
    }

    /// Sets the default of the mask of global attention.
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

    /// Sets the vocabulary size of summaries.
    pub(crate) fn set_target_vocab_size(&mut self, size: usize) {
        self.target.vocab_size = size;
        self.output.vocab_size = size;
        self.output.bias.1 = vec![1, size];
    }

    /// Sets the `pad_token_id` of config.json in both position tables.
    pub(crate) fn count_past_padding(&mut self, config: &ModelConfig) -> Result<()> {
        let vocab_size = self.source.vocab_size;
        let tables = [&mut self.source.positions, &mut self.target.positions];
        for (_, table) in tables.into_iter().flatten() {
            if let PositionKind::Counted { padding } = &mut table.kind {
                *padding = config.token_or("pad_token_id", *padding, vocab_size)?;
            }
        }
        Ok(())
    }

    fn shape(&self) -> ModelShape {
        let heads = self.decoder.attention.kv();
        ModelShape {
            hidden_size: self.encoder.norm.size,
            encoder_layers: self.encoder.layers,
            decoder_layers: self.decoder.layers,
            heads: heads.count,
            head_size: heads.size,
            vocab_size: self.output.vocab_size,
            source_vocab_size: (self.source.vocab_size != self.output.vocab_size)
                .then_some(self.source.vocab_size),
            max_source_positions: self.max_source_positions,
            max_target_positions: self.max_target_positions,
            global_attention: self.global_attention_mask.is_some(),
            source_prompt: self.memory.prompt.map_or(0, |prompt| prompt.length),
        }
    }

    fn encoder_graph(&self, layout: Layout, weights: &mut ModelWeights<'_>) -> Result<Graph> {
        let doc = format!(
            "{} encoder: what it makes of a document's tokens, once for each document.",
            self.title
        );
        let mut b = Builder::new(Side::Encoder, &doc, layout, weights);
        let inputs = encoder_inputs(&mut b, self.global_attention_mask.as_ref());
        let x = b.scoped("embed", |b| {
            let tables = self.tied_to(&self.source.table);
            self.source.apply(b, tables, Tokens::Source(&inputs))
        })?;
        let x = (self.encoder_layers)(&mut b, &self.encoder, &inputs, &x)?;
        encoder_outputs(&mut b, &x, &inputs, (&self.decoder, &self.memory))?;
        Ok(b.graph)
    }

    fn decoder_graph(&self, layout: Layout, weights: &mut ModelWeights<'_>) -> Result<Graph> {
        let step = match layout {
            Layout::Bundle => {
                "one step, the first included (past_length 0). The cache is written in place, and \
                 cache_indirection says which of it is a row's history."
            }
            Layout::Optimum => "any number of new tokens behind those in the cache.",
        };
        let doc = format!("{} decoder: {step}", self.title);
        let mut b = Builder::new(Side::Decoder, &doc, layout, weights);
        let (mut inputs, mut caches) = decoder_inputs(&mut b, (&self.decoder, &self.memory));
        self.set_prompts(&mut b, &mut inputs, &mut caches)?;
        let x = b.scoped("embed", |b| {
            let tables = self.tied_to(&self.target.table);
            let x = self.target.apply(b, tables, Tokens::Step(&inputs))?;
            match &self.predicting {
                Some(stream) => stream.add_rows(b, &x, &self.target, &mut inputs),
                None => Ok(x),
            }
        })?;
        if let Some(bias) = &self.target_bias {
            b.scoped("relative_bias", |b| {
                let relative = relative_of_step(b, &inputs);
                let mut newest = None;
                for (layer, cache) in caches.iter_mut().enumerate() {
                    if newest.is_none() || bias.layers == BiasLayers::Every {
                        newest = Some(bias.added(
                            b,
                            &bias.name(&self.decoder.names, layer),
                            &relative,
                        )?);
                    }
                    cache.bias.clone_from(&newest);
                }
                Ok(())
            })?;
        }
        let mut x = self.decoder.decoder(&mut b, &x, &inputs, &mut caches)?;
        if inputs.streams.is_some() {
            x = stream_rows(&mut b, &x);
        }
        let logits =
            b.scoped("lm_head", |b| self.output.apply(b, self.tied_to(self.output.table), &x))?;
        let vocab_size = self.output.vocab_size;
        decoder_outputs(&mut b, &logits, vocab_size, &inputs, &caches, &self.decoder);
        Ok(b.graph)
    }

    /// Puts the prompts, if there are any, before keys and values.
    fn set_prompts(
        &self,
        b: &mut Builder<'_, '_>,
        inputs: &mut DecoderInputs,
        caches: &mut [LayerCache],
    ) -> Result<()> {
        if let Some(prompt) = &self.target_prompt {
            for (cache, prompt) in caches.iter_mut().zip(prompt.of_layers(b)?) {
                cache.prompt = Some(prompt);
            }
        }
        let Some(prompt) = &self.memory.prompt else {
            return Ok(());
        };
        if b.is_portable() {
            inputs.source = prompt.mask(b, &inputs.source, 4);
            for (cache, prompt) in caches.iter_mut().zip(prompt.of_layers(b)?) {
                cache.cross_prompt = Some(prompt);
            }
        } else {
            // The encoder packed the prompt with the source, which is longer by its length.
            let more = b.graph.int32s(&[0, 0, prompt.length as i32]);
            inputs.source = b.graph.node("Add").inputs([&inputs.source, &more]).output();
        }
        Ok(())
    }

    /// The tables that the table `name` is tied to, the leading one first.
    fn tied_to(&self, name: &str) -> &[&'static str] {
        match self.separate_tables {
            false => &self.tables,
            true if name == self.tables[1] => &self.tables[1..2],
            true => &self.tables[2..],
        }
    }
}
