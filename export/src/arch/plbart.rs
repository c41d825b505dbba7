//! PLBART (Ahmad et al. 2021, "Unified Pre-training for Program Understanding and Generation").
//!
//! Agrees with `transformers/models/plbart/modeling_plbart.py`: BART, with scaled embeddings unless
//! config.json says otherwise.

use super::bart::{self, BART};
use super::family::{Defaults, Family};

pub(super) static PLBART: Family = Family {
    model_type: "plbart",
    title: "PLBART",
    tokenizer_class: "PLBartTokenizer",
    generation_defaults: &[
        ("bos_token_id", 0),
        ("eos_token_id", 2),
        ("forced_eos_token_id", 2),
        ("pad_token_id", 1),
    ],
    forces_bos_by_old_name: false,
    defaults: Defaults {
        hidden: 768,
        vocab_size: 50005,
        encoder: [6, 12, 3072],
        decoder: [6, 12, 3072],
        scale_embedding: true,
        ..bart::DEFAULTS
    },
    ..BART
};
