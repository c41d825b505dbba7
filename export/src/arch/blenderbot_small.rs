//! BlenderbotSmall, the 90M model of Roller et al. 2020.
//!
//! Agrees with `transformers/models/blenderbot_small/modeling_blenderbot_small.py`: post-norm
//! layers, learned positions from the first row of the table, and a norm over the embeddings. The
//! decoder applies that norm before the positions are added, and the encoder after.

use super::bart::{self, BART};
use super::blocks::positions::PositionKind;
use super::family::{Defaults, EmbeddingNorm, Family};

pub(super) static BLENDERBOT_SMALL: Family = Family {
    model_type: "blenderbot-small",
    title: "BlenderbotSmall",
    tokenizer_class: "BlenderbotSmallTokenizer",
    generation_defaults: &[
        ("bos_token_id", 1),
        ("decoder_start_token_id", 1),
        ("eos_token_id", 2),
        ("forced_eos_token_id", 2),
        ("pad_token_id", 0),
    ],
    forces_bos_by_old_name: false,
    embedding_norm: EmbeddingNorm::SumThenTokens,
    positions: Some(PositionKind::Learned { offset: 0 }),
    defaults: Defaults {
        hidden: 512,
        positions: 512,
        encoder: [8, 16, 2048],
        decoder: [8, 16, 2048],
        ..bart::DEFAULTS
    },
    ..BART
};
