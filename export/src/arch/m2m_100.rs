//! M2M100 (Fan et al. 2020, "Beyond English-Centric Multilingual Machine Translation") and NLLB.
//!
//! Agrees with `transformers/models/m2m_100/modeling_m2m_100.py`: pre-norm layers with a closing norm,
//! no norm over the embeddings, and fairseq's sinusoidal positions, which are counted past padding
//! and never read from the checkpoint.

use epitome_runtime::bundle::Layout;

use super::blocks::bart::{Defaults, EmbeddingNorm, Family, Model, TABLES};
use super::blocks::norm::Placement;
use super::blocks::positions::Positions;
use super::blocks::transformer::StackNames;
use super::{Architecture, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;

/// `model_type` "m2m_100".
pub(super) struct M2m100;

/// `pad_token_id` where config.json says nothing.
const PADDING: u32 = 1;

const FAMILY: Family = Family {
    title: "M2M100",
    encoder: StackNames::bart("model.encoder"),
    decoder: StackNames::bart("model.decoder"),
    tables: &TABLES,
    placement: Placement::Pre,
    embedding_norm: EmbeddingNorm::None,
    positions: Positions::Counted { padding: PADDING },
    defaults: Defaults {
        vocab_size: 128_112,
        activation: "relu",
        scale_embedding: true,
        ..Defaults::BART
    },
};

impl Architecture for M2m100 {
    fn model_type(&self) -> &'static str {
        "m2m_100"
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
        let vocab_size = config.size_or("vocab_size", FAMILY.defaults.vocab_size)?;
        let family = Family {
            positions: Positions::Counted {
                padding: config.token_or("pad_token_id", PADDING, vocab_size)?,
            },
            ..FAMILY
        };
        Model::new(config, &family)?.graphs(layout, weights)
    }
}
