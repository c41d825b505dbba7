//! Marian (Junczys-Dowmunt et al. 2018, "Marian: Fast Neural Machine Translation in C++"), the
//! architecture of the OPUS models.
//!
//! Agrees with `transformers/models/marian/modeling_marian.py`: post-norm layers, sinusoidal
//! positions (from the checkpoint if it has them), and no norm over the embeddings. With
//! `share_encoder_decoder_embeddings: false` source and summary have separate tables.

use super::bart::{self, BART};
use super::blocks::positions::PositionKind;
use super::config::ModelConfig;
use super::family::{Defaults, EmbeddingNorm, Family};
use super::model::Model;
use crate::error::Result;

pub(super) static MARIAN: Family = Family {
    model_type: "marian",
    title: "Marian",
    tokenizer_class: "MarianTokenizer",
    generation_defaults: &[
        ("decoder_start_token_id", 58_100),
        ("eos_token_id", 0),
        ("forced_eos_token_id", 0),
        ("pad_token_id", 58_100),
    ],
    forces_bos_by_old_name: false,
    embedding_norm: EmbeddingNorm::None,
    positions: Some(PositionKind::Sinusoidal),
    defaults: Defaults { vocab_size: 58101, ..bart::DEFAULTS },
    read,
    ..BART
};

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let mut model = bart::read(family, config)?;
    if !config.flag("share_encoder_decoder_embeddings", true)? {
        model.separate_tables = true;
        let size = config.size_or("decoder_vocab_size", model.source.vocab_size)?;
        model.set_target_vocab_size(size);
    }
    Ok(model)
}
