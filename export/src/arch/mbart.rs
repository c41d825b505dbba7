//! mBART (Liu et al. 2020, "Multilingual Denoising Pre-training for Neural Machine Translation") and
//! mBART-50.
//!
//! Agrees with `transformers/models/mbart/modeling_mbart.py`: BART with pre-norm layers and a closing
//! norm, and the norm over the embeddings as well. The language of the summary is a matter of
//! generation (`forced_bos_token_id`, or the decoder's start token).

use epitome_runtime::bundle::Layout;

use super::blocks::bart::{Defaults, EmbeddingNorm, Family, Model, TABLES};
use super::blocks::norm::Placement;
use super::blocks::positions::Positions;
use super::blocks::transformer::StackNames;
use super::{Architecture, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;

/// `model_type` "mbart".
pub(super) struct Mbart;

const FAMILY: Family = Family {
    title: "mBART",
    encoder: StackNames::bart("model.encoder"),
    decoder: StackNames::bart("model.decoder"),
    tables: &TABLES,
    placement: Placement::Pre,
    embedding_norm: EmbeddingNorm::Sum,
    positions: Positions::Learned { offset: 2 },
    defaults: Defaults::BART,
};

impl Architecture for Mbart {
    fn model_type(&self) -> &'static str {
        "mbart"
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
