//! PLBART (Ahmad et al. 2021, "Unified Pre-training for Program Understanding and Generation").
//!
//! Agrees with `transformers/models/plbart/modeling_plbart.py`: BART, with scaled embeddings unless
//! config.json says otherwise.

use epitome_runtime::bundle::Layout;

use super::blocks::bart::{Defaults, EmbeddingNorm, Family, Model, TABLES};
use super::blocks::norm::Placement;
use super::blocks::positions::Positions;
use super::blocks::transformer::StackNames;
use super::{Architecture, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;

/// `model_type` "plbart".
pub(super) struct Plbart;

const FAMILY: Family = Family {
    title: "PLBART",
    encoder: StackNames::bart("model.encoder"),
    decoder: StackNames::bart("model.decoder"),
    tables: &TABLES,
    placement: Placement::Post,
    embedding_norm: EmbeddingNorm::Sum,
    positions: Positions::Learned { offset: 2 },
    defaults: Defaults {
        hidden: 768,
        vocab_size: 50005,
        encoder: [6, 12, 3072],
        decoder: [6, 12, 3072],
        scale_embedding: true,
        ..Defaults::BART
    },
};

impl Architecture for Plbart {
    fn model_type(&self) -> &'static str {
        "plbart"
    }

    fn generation_defaults(&self) -> &'static [(&'static str, u32)] {
        &[
            ("bos_token_id", 0),
            ("eos_token_id", 2),
            ("forced_eos_token_id", 2),
            ("pad_token_id", 1),
        ]
    }

    fn build(
        &self,
        config: &ModelConfig,
        layout: Layout,
        weights: &mut ModelWeights<'_>,
    ) -> Result<Graphs> {
        Model::new(config, &FAMILY)?.graphs(layout, weights)
    }
}
