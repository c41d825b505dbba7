//! PEGASUS (Zhang et al. 2019, "PEGASUS: Pre-training with Extracted Gap-sentences for Abstractive
//! Summarization").
//!
//! Agrees with `transformers/models/pegasus/modeling_pegasus.py`: pre-norm layers with a closing
//! norm, sinusoidal positions (those of the checkpoint where it holds them, which matters for one
//! saved in half precision; computed otherwise).

use epitome_runtime::bundle::Layout;

use super::blocks::bart::{Defaults, EmbeddingNorm, Family, Model, TABLES};
use super::blocks::norm::Placement;
use super::blocks::positions::Positions;
use super::blocks::transformer::StackNames;
use super::{Architecture, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;

/// `model_type` "pegasus".
pub(super) struct Pegasus;

const FAMILY: Family = Family {
    title: "PEGASUS",
    encoder: StackNames::bart("model.encoder"),
    decoder: StackNames::bart("model.decoder"),
    tables: &TABLES,
    placement: Placement::Pre,
    embedding_norm: EmbeddingNorm::None,
    positions: Positions::Sinusoidal,
    defaults: Defaults::BART,
};

impl Architecture for Pegasus {
    fn model_type(&self) -> &'static str {
        "pegasus"
    }

    fn generation_defaults(&self) -> &'static [(&'static str, u32)] {
        &[
            ("decoder_start_token_id", 0),
            ("eos_token_id", 1),
            ("forced_eos_token_id", 1),
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
