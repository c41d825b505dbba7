//! BART (Lewis et al. 2019, "BART: Denoising Sequence-to-Sequence Pre-training for Natural Language
//! Generation, Translation, and Comprehension"), distilbart among it.
//!
//! Agrees with `transformers/models/bart/modeling_bart.py`: post-norm layers, a norm over the
//! embeddings, learned positions that start in the third row of their table.

use epitome_runtime::bundle::Layout;

use super::blocks::bart::{Defaults, EmbeddingNorm, Family, Model, TABLES};
use super::blocks::norm::Placement;
use super::blocks::positions::Positions;
use super::blocks::transformer::StackNames;
use super::{Architecture, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;

/// `model_type` "bart".
pub(super) struct Bart;

const FAMILY: Family = Family {
    title: "BART",
    encoder: StackNames::bart("model.encoder"),
    decoder: StackNames::bart("model.decoder"),
    tables: &TABLES,
    placement: Placement::Post,
    embedding_norm: EmbeddingNorm::Sum,
    positions: Positions::Learned { offset: 2 },
    defaults: Defaults::BART,
};

impl Architecture for Bart {
    fn model_type(&self) -> &'static str {
        "bart"
    }

    fn generation_defaults(&self) -> &'static [(&'static str, u32)] {
        &[
            ("bos_token_id", 0),
            ("decoder_start_token_id", 2),
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
