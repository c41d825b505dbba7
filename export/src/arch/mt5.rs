//! mT5 (Xue et al. 2020, "mT5: A massively multilingual pre-trained text-to-text transformer").
//!
//! Agrees with `transformers/models/mt5/modeling_mt5.py`: T5 with gated feed-forward layers, whose
//! last hidden states are never scaled. Its checkpoints hold a separate output table.

use super::blocks::relative_bias::BiasLayers;
use super::family::{Defaults, Family};
use super::t5::{self, T5};

pub(super) static MT5: Family = Family {
    model_type: "mt5",
    title: "mT5",
    generation_defaults: &[("decoder_start_token_id", 0), ("eos_token_id", 1), ("pad_token_id", 0)],
    defaults: DEFAULTS,
    read: |family, config| t5::read(family, config, BiasLayers::First, false),
    ..T5
};

/// Default values of `MT5Config`, in `transformers/models/mt5/configuration_mt5.py`.
const DEFAULTS: Defaults = Defaults {
    vocab_size: 250_112,
    encoder: [8, 6, 1024],
    decoder: [8, 6, 1024],
    activation: "gated-gelu",
    ..t5::DEFAULTS
};
