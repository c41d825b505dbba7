//! The two models that an encoder-decoder consists of.

use crate::arch::blocks::embedding::Embedding;
use crate::arch::blocks::output::Output;
use crate::arch::blocks::transformer::Stack;
use crate::arch::config::ModelConfig;
use crate::arch::weights::Alias;
use crate::error::Result;

/// A type of model that can be the encoder or the decoder.
pub(super) struct SubmodelType {
    /// `model_type` of its configuration.
    pub(super) model_type: &'static str,
    /// The tokenizer class that transformers chooses for it.
    pub(super) tokenizer_class: &'static str,
    /// Reads the configuration of an encoder.
    pub(super) encoder: Option<fn(&ModelConfig) -> Result<Submodel>>,
    /// Reads the configuration of a decoder.
    pub(super) decoder: Option<fn(&ModelConfig) -> Result<Submodel>>,
    /// Reads the configuration of an encoder that shares the weights of the decoder.
    pub(super) shared: Option<fn(&ModelConfig) -> Result<Submodel>>,
}

/// The encoder or the decoder.
pub(super) struct Submodel {
    pub(super) stack: Stack,
    pub(super) embedding: Embedding,
    /// Checkpoint name of the embedding table.
    pub(super) table: &'static str,
    /// The language modeling head of a decoder.
    pub(super) output: Option<Output>,
    /// Maximum number of tokens.
    pub(super) positions: usize,
    pub(super) aliases: Vec<(String, Alias)>,
    /// Tensors of the checkpoint that no graph reads.
    pub(super) unused: Vec<String>,
}
