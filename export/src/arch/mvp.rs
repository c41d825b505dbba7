//! MVP (Tang et al. 2022, "MVP: Multi-task Supervised Pre-training for Natural Language
//! Generation").
//!
//! Agrees with `transformers/models/mvp/modeling_mvp.py`: BART. With `use_prompt`, every layer has
//! trained keys and values before those of the tokens. transformers 5 drops the encoder's prompt,
//! and its checkpoints hold none.

use super::bart::{self, BART};
use super::blocks::prompt::Prompt;
use super::config::ModelConfig;
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
    let mut model = bart::read(family, config)?;
    if !config.flag("use_prompt", false)? {
        return Ok(model);
    }
    let (length, inner) =
        (config.size_or("prompt_length", 100)?, config.size_or("prompt_mid_dim", 800)?);
    let prompt = |name, layers| Prompt { name, length, hidden: model.source.size, inner, layers };
    let source = prompt("model.encoder.self_attn_prompt", model.encoder.layers);
    let target = prompt("model.decoder.self_attn_prompt", model.decoder.layers);
    let cross = prompt("model.decoder.cross_attn_prompt", model.decoder.layers);
    model.encoder_layers = Box::new(move |b, encoder, inputs, x| {
        if !source.is_in(b) {
            return encoder.plain_encoder(b, inputs, x);
        }
        let prompts = source.of_layers(b)?;
        encoder.encoder(b, (inputs, x), &mut |b, (layer, name), x| {
            let prompt = (&prompts[layer], name);
            encoder.attention.encoder_self_attention_behind(b, prompt, x, inputs)
        })
    });
    model.target_prompt = Some(target);
    model.memory.prompt = Some(cross);
    Ok(model)
}
