//! FSMT, fairseq's translation models of WMT19 (Ng et al. 2019, "Facebook FAIR's WMT19 News
//! Translation Task Submission").
//!
//! Agrees with `transformers/models/fsmt/modeling_fsmt.py`: post-norm layers, fairseq's sinusoidal
//! positions, and separate tables for source and summary. transformers 4 ties the decoder's to the
//! output, whatever config.json says.

use super::bart::{self, BART};
use super::blocks::positions::PositionKind;
use super::config::ModelConfig;
use super::family::{Defaults, EmbeddingNorm, Family};
use super::model::Model;
use crate::error::Result;

pub(super) static FSMT: Family = Family {
    model_type: "fsmt",
    title: "FSMT",
    tokenizer_class: "FSMTTokenizer",
    generation_defaults: &[
        ("bos_token_id", 0),
        ("decoder_start_token_id", 2),
        ("eos_token_id", 2),
        ("forced_eos_token_id", 2),
        ("max_length", 200),
        ("num_beams", 5),
        ("pad_token_id", 1),
    ],
    forces_bos_by_old_name: false,
    aliases_of_5: &[("num_hidden_layers", "encoder_layers"), ("vocab_size", "tgt_vocab_size")],
    tables: &[
        "model.decoder.embed_tokens.weight",
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
        "model.decoder.output_projection.weight",
    ],
    embedding_norm: EmbeddingNorm::None,
    positions: Some(PositionKind::Counted { padding: 1 }),
    defaults: Defaults {
        vocab_size: 42024,
        activation: "relu",
        scale_embedding: true,
        ..bart::DEFAULTS
    },
    read,
    ..BART
};

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let mut model = bart::read(family, config)?;
    let default = family.defaults.vocab_size;
    model.source.vocab_size = config.size_or("src_vocab_size", default)?;
    model.set_target_vocab_size(config.size_or("tgt_vocab_size", default)?);
    model.separate_tables = !config.flag("tie_word_embeddings", false)?;
    model.output.tied = true;
    model.count_past_padding(config)?;
    Ok(model)
}
