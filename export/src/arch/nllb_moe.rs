//! NLLB-MoE (NLLB Team et al. 2022, "No Language Left Behind: Scaling Human-Centered Machine
//! Translation"): M2M100, where a router chooses two of many feed-forward layers for each token in
//! some layers.
//!
//! Agrees with `transformers/models/nllb_moe/modeling_nllb_moe.py` of 4.57.6, which computes what
//! fairseq trained. Version 5.24.0 confuses the mask of the first expert with the numbers of
//! experts, and always runs experts 0 and 1 only.

use super::bart;
use super::blocks::experts::{Capacity, Experts, Routing};
use super::blocks::transformer::{Stack, StackNames};
use super::config::{ModelConfig, wrong};
use super::family::Family;
use super::m2m_100::M2M_100;
use super::model::Model;
use crate::error::Result;

pub(super) static NLLB_MOE: Family = Family {
    model_type: "nllb-moe",
    title: "NLLB-MoE",
    tokenizer_class: "NllbTokenizer",
    encoder: names(M2M_100.encoder),
    decoder: names(M2M_100.decoder),
    read,
    ..M2M_100
};

/// Names of the parts of a stack.
const fn names(stack: StackNames) -> StackNames {
    StackNames {
        cross_attention: ["cross_attention", "cross_attention_layer_norm"],
        feed_forward: ["ffn", "ff_layer_norm"],
        ..stack
    }
}

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let mut model = bart::read(family, config)?;
    model.count_past_padding(config)?;
    for (stack, side) in [(&mut model.encoder, "encoder"), (&mut model.decoder, "decoder")] {
        stack.experts = experts(config, stack, side)?;
    }
    Ok(model)
}

/// The experts of one side, if it has any. Both sides have the same number.
fn experts(config: &ModelConfig, stack: &Stack, side: &str) -> Result<Option<Experts>> {
    let sparse_step = format!("{side}_sparse_step");
    if config.number_or(&sparse_step, 4.0)? <= 0.0 {
        return Ok(None);
    }
    let step = config.size_or(&sparse_step, 4)?;
    let only = |field: &str, default, supported| {
        let found = config.string_or(field, default)?;
        match found == supported {
            true => Ok(()),
            false => {
                Err(wrong(field, format_args!("is '{found}', but only {supported} is supported")))
            }
        }
    };
    only("router_dtype", "float32", "float32")?;
    // Other policies draw random numbers.
    only("second_expert_policy", "all", "all")?;
    let tokens = "expert_capacity";
    let capacity = match config.number_or("moe_eval_capacity_token_fraction", 1.0)? {
        share if share > 0.0 => Capacity::Share(share),
        _ if config.is_null(tokens) => {
            return Err(wrong(
                tokens,
                "is null, but must be a number where moe_eval_capacity_token_fraction is 0",
            ));
        }
        _ => Capacity::Tokens(config.size_or(tokens, 64)?),
    };
    let by_priority = "batch_prioritized_routing";
    if config.flag(by_priority, false)? && !matches!(capacity, Capacity::Share(1.0..)) {
        return Err(wrong(
            by_priority,
            "is true, which is supported only where moe_eval_capacity_token_fraction is 1",
        ));
    }
    let field = "moe_token_dropout";
    let dropout = config.number_or(field, 0.2)?;
    if !(0.0..1.0).contains(&dropout) {
        return Err(wrong(field, format_args!("is {dropout}, but must be from 0 to below 1")));
    }
    let count = config.layers_or("num_experts", 128)?;
    if count < 2 {
        return Err(wrong("num_experts", format_args!("is {count}, but must be at least 2")));
    }
    let normalize_before_dropping = config.flag("normalize_router_prob_before_dropping", false)?;
    let routing =
        Routing::Two { capacity, normalize_before_dropping, factor: (1.0 - dropout) as f32 };
    Ok(Some(Experts { count, routing, first: step - 1, step, feed_forward: stack.feed_forward }))
}
