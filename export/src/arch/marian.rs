//! Marian (Junczys-Dowmunt et al. 2018, "Marian: Fast Neural Machine Translation in C++"), as the
//! OPUS models have it.
//!
//! Agrees with `transformers/models/marian/modeling_marian.py`: post-norm layers, sinusoidal positions
//! (those of the checkpoint where it holds them), no norm over the embeddings; with
//! `share_encoder_decoder_embeddings: false` source and summary have tables of their own.

use epitome_runtime::bundle::Layout;

use super::blocks::bart::{Defaults, EmbeddingNorm, Family, Model, TABLES};
use super::blocks::norm::Placement;
use super::blocks::positions::Positions;
use super::blocks::transformer::StackNames;
use super::{Architecture, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;

/// `model_type` "marian".
pub(super) struct Marian;

const FAMILY: Family = Family {
    title: "Marian",
    encoder: StackNames::bart("model.encoder"),
    decoder: StackNames::bart("model.decoder"),
    tables: &TABLES,
    placement: Placement::Post,
    embedding_norm: EmbeddingNorm::None,
    positions: Positions::Sinusoidal,
    defaults: Defaults {
        vocab_size: 58101,
        ..Defaults::BART
    },
};

impl Architecture for Marian {
    fn model_type(&self) -> &'static str {
        "marian"
    }

    fn generation_defaults(&self) -> &'static [(&'static str, u32)] {
        &[
            ("decoder_start_token_id", 58_100),
            ("eos_token_id", 0),
            ("forced_eos_token_id", 0),
            ("pad_token_id", 58_100),
        ]
    }

    fn build(
        &self,
        config: &ModelConfig,
        layout: Layout,
        weights: &mut ModelWeights<'_>,
    ) -> Result<Graphs> {
        let mut model = Model::new(config, &FAMILY)?;
        if !config.flag("share_encoder_decoder_embeddings", true)? {
            model.separate_tables = true;
            model.vocab_size = config.size_or("decoder_vocab_size", model.source_vocab_size)?;
        }
        model.graphs(layout, weights)
    }
}
