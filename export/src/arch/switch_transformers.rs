//! Switch Transformers (Fedus et al. 2021, "Switch Transformers: Scaling to Trillion Parameter
//! Models with Simple and Efficient Sparsity").
//!
//! Agrees with `transformers/models/switch_transformers/modeling_switch_transformers.py`: T5, where
//! a router chooses one of several feed-forward layers for each token in some layers. An expert
//! takes at most `expert_capacity` tokens of a source. For further tokens the layer adds nothing.

use serde_json::Value;

use super::blocks::activation::Activation;
use super::blocks::experts::{Experts, Routing};
use super::blocks::feed_forward::FeedForwardNames;
use super::blocks::relative_bias::BiasLayers;
use super::blocks::transformer::{Stack, StackNames};
use super::config::{ModelConfig, wrong};
use super::family::{Defaults, Family};
use super::model::Model;
use super::t5::{self, T5};
use crate::error::Result;

pub(super) static SWITCH_TRANSFORMERS: Family = Family {
    model_type: "switch_transformers",
    title: "Switch Transformers",
    aliases: &[
        ("hidden_size", "d_model"),
        ("num_attention_heads", "num_heads"),
        ("num_hidden_layers", "num_layers"),
    ],
    encoder: StackNames { feed_forward: ["1.mlp", "1.layer_norm"], ..t5::ENCODER },
    decoder: StackNames {
        feed_forward: ["2.mlp", "2.layer_norm"],
        stack: "decoder",
        ..t5::ENCODER
    },
    defaults: Defaults {
        hidden: 768,
        encoder: [12, 12, 2048],
        decoder: [12, 12, 2048],
        ..t5::DEFAULTS
    },
    read,
    ..T5
};

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let field = "router_dtype";
    let dtype = config.string_or(field, "float32")?;
    if dtype != "float32" {
        return Err(wrong(field, format_args!("is '{dtype}', but only float32 is supported")));
    }
    let scaled_output = config.flag("tie_word_embeddings", true)?;
    let mut model = t5::read(family, config, BiasLayers::First, scaled_output)?;
    let activation = Activation::from_config_or(config, "dense_act_fn", "relu")?;
    for (stack, side) in [(&mut model.encoder, "encoder"), (&mut model.decoder, "decoder")] {
        stack.feed_forward.activation = activation;
        stack.feed_forward.names = FeedForwardNames::Plain(["wi", "wo"]);
        stack.experts = Some(experts(config, stack, side)?);
    }
    Ok(model)
}

/// The experts of one side. Both sides have the same number.
fn experts(config: &ModelConfig, stack: &Stack, side: &str) -> Result<Experts> {
    let field = format!("num_sparse_{side}_layers");
    let sparse = match config.get(&field).and_then(Value::as_u64) {
        // transformers puts experts into the second layer then.
        Some(0) => 1,
        _ => config.size_or(&field, 3)?,
    };
    if sparse > stack.layers {
        let layers = stack.layers;
        return Err(wrong(&field, format_args!("is {sparse}, but there are {layers} layers")));
    }
    let step = config.size_or(&format!("{side}_sparse_step"), stack.layers / sparse)?;
    Ok(Experts {
        count: config.layers_or("num_experts", 8)?,
        routing: Routing::First { capacity: config.size_or("expert_capacity", 64)? },
        // Experts are in all layers, or in the second of every `step`.
        first: usize::from(step > 1),
        step,
        feed_forward: stack.feed_forward,
    })
}
