//! PEGASUS (Zhang et al. 2019, "PEGASUS: Pre-training with Extracted Gap-sentences for Abstractive
//! Summarization").
//!
//! Agrees with `transformers/models/pegasus/modeling_pegasus.py`: pre-norm layers with a closing
//! norm and sinusoidal positions. The positions are read from the checkpoint if it holds them,
//! since they differ in half precision, and computed otherwise.

use super::bart::BART;
use super::blocks::norm::Placement;
use super::blocks::positions::PositionKind;
use super::family::{EmbeddingNorm, Family};

pub(super) static PEGASUS: Family = Family {
    model_type: "pegasus",
    title: "PEGASUS",
    tokenizer_class: "PegasusTokenizer",
    generation_defaults: &[
        ("decoder_start_token_id", 0),
        ("eos_token_id", 1),
        ("forced_eos_token_id", 1),
        ("pad_token_id", 0),
    ],
    forces_bos_by_old_name: false,
    placement: Placement::Pre,
    embedding_norm: EmbeddingNorm::None,
    positions: Some(PositionKind::Sinusoidal),
    ..BART
};
