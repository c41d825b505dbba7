//! Blenderbot (Roller et al. 2020, "Recipes for building an open-domain chatbot").
//!
//! Agrees with `transformers/models/blenderbot/modeling_blenderbot.py`: pre-norm layers with a closing
//! norm, learned positions from the first row of their table.

use epitome_runtime::bundle::Layout;

use super::blocks::bart::{Defaults, EmbeddingNorm, Family, Model, TABLES};
use super::blocks::norm::Placement;
use super::blocks::positions::Positions;
use super::blocks::transformer::StackNames;
use super::{Architecture, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;

/// `model_type` "blenderbot".
pub(super) struct Blenderbot;

const FAMILY: Family = Family {
    title: "Blenderbot",
    encoder: StackNames::bart("model.encoder"),
    decoder: StackNames::bart("model.decoder"),
    tables: &TABLES,
    placement: Placement::Pre,
    embedding_norm: EmbeddingNorm::None,
    positions: Positions::Learned { offset: 0 },
    defaults: Defaults {
        hidden: 2560,
        vocab_size: 8008,
        positions: 128,
        encoder: [2, 32, 10240],
        decoder: [24, 32, 10240],
        ..Defaults::BART
    },
};

impl Architecture for Blenderbot {
    fn model_type(&self) -> &'static str {
        "blenderbot"
    }

    fn generation_defaults(&self) -> &'static [(&'static str, u32)] {
        &[
            ("bos_token_id", 1),
            ("decoder_start_token_id", 1),
            ("encoder_no_repeat_ngram_size", 3),
            ("eos_token_id", 2),
            ("forced_eos_token_id", 2),
            ("pad_token_id", 0),
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
