//! Blenderbot (Roller et al. 2020, "Recipes for building an open-domain chatbot").
//!
//! Agrees with `transformers/models/blenderbot/modeling_blenderbot.py`: pre-norm layers with a
//! closing norm, learned positions from the first row of their table.

use super::bart::{self, BART};
use super::blocks::norm::Placement;
use super::blocks::positions::PositionKind;
use super::family::{Defaults, EmbeddingNorm, Family};

pub(super) static BLENDERBOT: Family = Family {
    model_type: "blenderbot",
    title: "Blenderbot",
    tokenizer_class: "BlenderbotTokenizer",
    generation_defaults: &[
        ("bos_token_id", 1),
        ("decoder_start_token_id", 1),
        ("encoder_no_repeat_ngram_size", 3),
        ("eos_token_id", 2),
        ("forced_eos_token_id", 2),
        ("pad_token_id", 0),
    ],
    forces_bos_by_old_name: false,
    placement: Placement::Pre,
    embedding_norm: EmbeddingNorm::None,
    positions: Some(PositionKind::Learned { offset: 0 }),
    defaults: Defaults {
        hidden: 2560,
        vocab_size: 8008,
        positions: 128,
        encoder: [2, 32, 10240],
        decoder: [24, 32, 10240],
        ..bart::DEFAULTS
    },
    ..BART
};
