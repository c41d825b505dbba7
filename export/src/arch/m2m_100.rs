//! M2M100 (Fan et al. 2020, "Beyond English-Centric Multilingual Machine Translation") and NLLB.
//!
//! Agrees with `transformers/models/m2m_100/modeling_m2m_100.py`: pre-norm layers with a closing
//! norm, no norm over the embeddings, and fairseq's sinusoidal positions, which are counted past
//! padding and never read from the checkpoint.

use super::bart::{self, BART};
use super::blocks::norm::Placement;
use super::blocks::positions::PositionKind;
use super::config::ModelConfig;
use super::family::{Defaults, EmbeddingNorm, Family};
use super::model::Model;
use crate::error::Result;

pub(super) static M2M_100: Family = Family {
    model_type: "m2m_100",
    title: "M2M100",
    tokenizer_class: "M2M100Tokenizer",
    generation_defaults: &[
        ("bos_token_id", 0),
        ("decoder_start_token_id", 2),
        ("eos_token_id", 2),
        ("pad_token_id", 1),
    ],
    forces_bos_by_old_name: false,
    placement: Placement::Pre,
    embedding_norm: EmbeddingNorm::None,
    positions: Some(PositionKind::Counted { padding: 1 }),
    defaults: Defaults {
        vocab_size: 128_112,
        activation: "relu",
        scale_embedding: true,
        ..bart::DEFAULTS
    },
    read,
    ..BART
};

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let mut model = bart::read(family, config)?;
    model.count_past_padding(config)?;
    Ok(model)
}
