//! mBART (Liu et al. 2020, "Multilingual Denoising Pre-training for Neural Machine Translation")
//! and mBART-50.
//!
//! Agrees with `transformers/models/mbart/modeling_mbart.py`: BART with pre-norm layers and a
//! closing norm, and with the norm over the embeddings too. The language of the summary is set at
//! generation (`forced_bos_token_id`, or the decoder's start token).

use super::bart::BART;
use super::blocks::norm::Placement;
use super::family::Family;

pub(super) static MBART: Family = Family {
    model_type: "mbart",
    title: "mBART",
    tokenizer_class: "MBartTokenizer",
    generation_defaults: &[
        ("bos_token_id", 0),
        ("eos_token_id", 2),
        ("forced_eos_token_id", 2),
        ("pad_token_id", 1),
    ],
    forces_bos_by_old_name: false,
    placement: Placement::Pre,
    ..BART
};
