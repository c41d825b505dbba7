//! What an architecture is: a description, from which and from config.json a model is made.

use super::blocks::norm::Placement;
use super::blocks::positions::PositionKind;
use super::blocks::transformer::StackNames;
use super::config::ModelConfig;
use super::model::Model;
use crate::error::Result;
use crate::version::Version;

/// The description of one architecture. Most are another one's with a few values changed.
#[derive(Clone, Copy)]
pub(crate) struct Family {
    /// `model_type` in config.json.
    pub(crate) model_type: &'static str,
    /// Its name, for the graphs' documentation.
    pub(crate) title: &'static str,
    /// The tokenizer class that transformers chooses where the checkpoint names none.
    pub(crate) tokenizer_class: &'static str,
    /// Generation settings of the configuration class of transformers 4.
    pub(crate) generation_defaults: &'static [(&'static str, u32)],
    /// Whether transformers 4 forces `bos_token_id` where config.json sets
    /// `force_bos_token_to_be_generated`.
    pub(crate) forces_bos_by_old_name: bool,
    /// Other names of fields of config.json, each with the field: `attribute_map` in both versions
    /// of transformers.
    pub(crate) aliases: &'static [(&'static str, &'static str)],
    /// Those that transformers 5 adds.
    pub(crate) aliases_of_5: &'static [(&'static str, &'static str)],
    /// What stands before the names of all tensors but the output's, and is missing where the base
    /// class saved them.
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
    /// What is normalized before the first layer.
    pub(crate) embedding_norm: EmbeddingNorm,
    /// Positions that are added to embedded tokens, where they are.
    pub(crate) positions: Option<PositionKind>,
    /// What holds where config.json is silent.
    pub(crate) defaults: Defaults,
    /// Reads config.json: the sizes and choices of one model.
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

/// The values of transformers' configuration class.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    /// `d_model`
    pub(crate) hidden: usize,
    /// `vocab_size`
    pub(crate) vocab_size: usize,
    /// `max_position_embeddings`. T5's models have no such limit, but memory has one: attention
    /// over the whole source takes it by the square.
    pub(crate) positions: usize,
    /// `encoder_layers`, `encoder_attention_heads` and `encoder_ffn_dim`; T5's `num_layers`,
    /// `num_heads` and `d_ff`.
    pub(crate) encoder: [usize; 3],
    /// `decoder_layers`, `decoder_attention_heads` and `decoder_ffn_dim`; T5's decoder is as its
    /// encoder.
    pub(crate) decoder: [usize; 3],
    /// `activation_function`; T5's `feed_forward_proj`.
    pub(crate) activation: &'static str,
    /// `scale_embedding`
    pub(crate) scale_embedding: bool,
}
