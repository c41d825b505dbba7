//! MVP (Tang et al. 2022, "MVP: Multi-task Supervised Pre-training for Natural Language
//! Generation").
//!
//! Agrees with `transformers/models/mvp/modeling_mvp.py`: BART. Its layer-wise prompts
//! (`use_prompt: true`) are refused.

use super::bart::{self, BART};
use super::config::{ModelConfig, wrong};
use super::family::{Defaults, Family};
use super::model::Model;
use crate::error::Result;

pub(super) static MVP: Family = Family {
    model_type: "mvp",
    title: "MVP",
    tokenizer_class: "MvpTokenizer",
    generation_defaults: &[
        ("bos_token_id", 0),
        ("decoder_start_token_id", 2),
        ("eos_token_id", 2),
        ("forced_eos_token_id", 2),
        ("pad_token_id", 1),
    ],
    defaults: Defaults { vocab_size: 50267, ..bart::DEFAULTS },
    read,
    ..BART
};

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    if config.flag("use_prompt", false)? {
        return Err(wrong(
            "use_prompt",
            "is true, which is not supported: only models without prompts are",
        ));
    }
    bart::read(family, config)
}
