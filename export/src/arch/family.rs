//! The description of an architecture. With config.json it makes a model.

use super::blocks::embedding::Embedding;
use super::blocks::inputs::Memory;
use super::blocks::norm::Placement;
use super::blocks::output::Output;
use super::blocks::positions::PositionKind;
use super::blocks::transformer::{Stack, StackNames};
use super::config::ModelConfig;
use super::model::Model;
use crate::error::Result;
use crate::version::Version;

/// The description of one architecture. Most are another one with a few values changed.
#[derive(Clone, Copy)]
pub(crate) struct Family {
    /// `model_type` in config.json.
    pub(crate) model_type: &'static str,
    /// Name of the architecture, for the documentation of the graphs.
    pub(crate) title: &'static str,
    /// The tokenizer class that transformers chooses if the checkpoint names none.
    pub(crate) tokenizer_class: &'static str,
    /// Generation defaults of the configuration class of transformers 4.
    pub(crate) generation_defaults: &'static [(&'static str, u32)],
    /// Whether transformers 4 forces `bos_token_id` if config.json sets
    /// `force_bos_token_to_be_generated`.
    pub(crate) forces_bos_by_old_name: bool,
    /// Other names of config.json's fields, `(other name, field)`: `attribute_map` in both versions
    /// of transformers.
    pub(crate) aliases: &'static [(&'static str, &'static str)],
    /// Other names that transformers 5 adds.
    pub(crate) aliases_of_5: &'static [(&'static str, &'static str)],
    /// Prefix of all tensor names but the output's. Checkpoints that were saved by the base class
    /// lack it.
    pub(crate) base_prefix: &'static str,
    /// Names of the encoder's parts.
    pub(crate) encoder: StackNames,
    /// Names of the decoder's parts.
    pub(crate) decoder: StackNames,
    /// Names of the tied embedding tables: the leading one, the encoder's, the decoder's, the
    /// output's.
    pub(crate) tables: &'static [&'static str; 4],
    /// Where layers normalize.
    pub(crate) placement: Placement,
    /// Norm before the first layer.
    pub(crate) embedding_norm: EmbeddingNorm,
    /// Positions that are added to embedded tokens.
    pub(crate) positions: Option<PositionKind>,
    /// Defaults of config.json.
    pub(crate) defaults: Defaults,
    /// Reads the sizes and choices of a model from config.json.
    pub(crate) read: fn(&Self, &ModelConfig) -> Result<Model>,
}

impl Family {
    /// The model that `config` describes.
    pub(crate) fn model(&self, config: ModelConfig) -> Result<Model> {
        let config = config.with_aliases(self.aliases);
        let config = match config.version() {
            Version::V4 => config,
            Version::V5 => config.with_aliases(self.aliases_of_5),
        };
        (self.read)(self, &config)
    }

    /// A model of two stacks, each with its embedding, whose encoder attends to all tokens from
    /// all tokens. `max_source_positions` is the maximum number of tokens of a source.
    pub(crate) fn assemble(
        &self,
        (encoder, source): (Stack, Embedding),
        (decoder, target): (Stack, Embedding),
        output: Output,
        max_source_positions: usize,
    ) -> Model {
        Model {
            title: self.title,
            memory: Memory::plain(encoder.norm.size),
            encoder,
            encoder_layers: Box::new(|b, encoder, inputs, x| encoder.plain_encoder(b, inputs, x)),
            decoder,
            source,
            target,
            output,
            tables: *self.tables,
            separate_tables: false,
            target_bias: None,
            predicting: None,
            target_prompt: None,
            max_source_positions,
            max_target_positions: None,
            global_attention_mask: None,
            aliases: Vec::new(),
            unused: Vec::new(),
        }
    }
}

/// Where `layernorm_embedding` is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EmbeddingNorm {
    /// There is no such norm.
    None,
    /// To the sum of tokens and positions.
    Sum,
    /// To the sum in the encoder, and to the tokens alone in the decoder (BlenderbotSmall).
    SumThenTokens,
}

/// Default values of transformers' configuration class.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    /// `d_model`
    pub(crate) hidden: usize,
    /// `vocab_size`
    pub(crate) vocab_size: usize,
    /// `max_position_embeddings`. T5's models have no such limit, but the memory of full attention
    /// grows with the square of the length.
    pub(crate) positions: usize,
    /// `encoder_layers`, `encoder_attention_heads` and `encoder_ffn_dim`; T5's `num_layers`,
    /// `num_heads` and `d_ff`.
    pub(crate) encoder: [usize; 3],
    /// `decoder_layers`, `decoder_attention_heads` and `decoder_ffn_dim`; for T5 those of the
    /// encoder.
    pub(crate) decoder: [usize; 3],
    /// `activation_function`; T5's `feed_forward_proj`.
    pub(crate) activation: &'static str,
    /// `scale_embedding`
    pub(crate) scale_embedding: bool,
}
