//! MVP (Tang et al. 2022, "MVP: Multi-task Supervised Pre-training for Natural Language Generation").
//!
//! Agrees with `transformers/models/mvp/modeling_mvp.py`: BART. Its layer-wise prompts
//! (`use_prompt: true`) are refused.

use epitome_runtime::bundle::Layout;

use super::blocks::bart::{Defaults, EmbeddingNorm, Family, Model, TABLES};
use super::blocks::norm::Placement;
use super::blocks::positions::Positions;
use super::blocks::transformer::StackNames;
use super::config::wrong;
use super::{Architecture, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;

/// `model_type` "mvp".
pub(super) struct Mvp;

const FAMILY: Family = Family {
    title: "MVP",
    encoder: StackNames::bart("model.encoder"),
    decoder: StackNames::bart("model.decoder"),
    tables: &TABLES,
    placement: Placement::Post,
    embedding_norm: EmbeddingNorm::Sum,
    positions: Positions::Learned { offset: 2 },
    defaults: Defaults {
        vocab_size: 50267,
        ..Defaults::BART
    },
};

impl Architecture for Mvp {
    fn model_type(&self) -> &'static str {
        "mvp"
    }

    fn generation_defaults(&self) -> &'static [(&'static str, u32)] {
        &[
            ("bos_token_id", 0),
            ("decoder_start_token_id", 2),
            ("eos_token_id", 2),
            ("pad_token_id", 1),
        ]
    }

    fn build(
        &self,
        config: &ModelConfig,
        layout: Layout,
        weights: &mut ModelWeights<'_>,
    ) -> Result<Graphs> {
        if config.flag("use_prompt", false)? {
            return Err(wrong(
                "use_prompt",
                "is true, which is not supported: only models without prompts are",
            ));
        }
        Model::new(config, &FAMILY)?.graphs(layout, weights)
    }
}
