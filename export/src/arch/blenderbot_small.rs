//! BlenderbotSmall, the 90M model of Roller et al. 2020.
//!
//! Agrees with `transformers/models/blenderbot_small/modeling_blenderbot_small.py`: post-norm layers,
//! learned positions from the first row of their table, and a norm over the embeddings, which the
//! decoder applies before the positions are added and the encoder after.

use epitome_runtime::bundle::Layout;

use super::blocks::bart::{Defaults, EmbeddingNorm, Family, Model, TABLES};
use super::blocks::norm::Placement;
use super::blocks::positions::Positions;
use super::blocks::transformer::StackNames;
use super::{Architecture, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;

/// `model_type` "blenderbot-small".
pub(super) struct BlenderbotSmall;

const FAMILY: Family = Family {
    title: "BlenderbotSmall",
    encoder: StackNames::bart("model.encoder"),
    decoder: StackNames::bart("model.decoder"),
    tables: &TABLES,
    placement: Placement::Post,
    embedding_norm: EmbeddingNorm::SumThenTokens,
    positions: Positions::Learned { offset: 0 },
    defaults: Defaults {
        hidden: 512,
        positions: 512,
        encoder: [8, 16, 2048],
        decoder: [8, 16, 2048],
        ..Defaults::BART
    },
};

impl Architecture for BlenderbotSmall {
    fn model_type(&self) -> &'static str {
        "blenderbot-small"
    }

    fn generation_defaults(&self) -> &'static [(&'static str, u32)] {
        &[
            ("bos_token_id", 1),
            ("decoder_start_token_id", 1),
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
