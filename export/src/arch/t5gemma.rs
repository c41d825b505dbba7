//! T5Gemma (Zhang et al. 2025, "Encoder-Decoder Gemma: Improving the Quality-Efficiency Trade-Off
//! via Adaptation").
//!
//! Agrees with `transformers/models/t5gemma/modeling_t5gemma.py`: encoder and decoder are both
//! Gemma 2, each with its own sizes and table. Layers have rotary positions, grouped keys and
//! values, soft caps and norms around each sublayer. Self-attention alternates between a window and
//! all tokens. From transformers 5 on, an encoder's window is one token wider on either side.

use serde_json::Value;

use super::blocks::activation::Activation;
use super::blocks::attention::{Attention, LayerType, Projections};
use super::blocks::embedding::Embedding;
use super::blocks::feed_forward::{FeedForward, FeedForwardNames};
use super::blocks::heads::Heads;
use super::blocks::norm::{Norm, NormKind, Placement};
use super::blocks::output::Output;
use super::blocks::rotary::Rotary;
use super::blocks::transformer::{Stack, StackNames};
use super::config::{ModelConfig, wrong};
use super::family::{Defaults, EmbeddingNorm, Family};
use super::model::Model;
use crate::error::Result;
use crate::version::Version;

pub(super) static T5GEMMA: Family = Family {
    model_type: "t5gemma",
    title: "T5Gemma",
    tokenizer_class: "GemmaTokenizer",
    generation_defaults: &[("bos_token_id", 2), ("eos_token_id", 1), ("pad_token_id", 0)],
    forces_bos_by_old_name: false,
    aliases: &[],
    aliases_of_5: &[],
    base_prefix: "model.",
    encoder: names("model.encoder"),
    decoder: names("model.decoder"),
    tables: &[
        "model.decoder.embed_tokens.weight",
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
        "lm_head.out_proj.weight",
    ],
    placement: PLACEMENT,
    embedding_norm: EmbeddingNorm::None,
    positions: None,
    defaults: DEFAULTS,
    read,
};

/// Default values of `T5GemmaModuleConfig`, in
/// `transformers/models/t5gemma/configuration_t5gemma.py`.
const DEFAULTS: Defaults = Defaults {
    hidden: 2304,
    vocab_size: 256_000,
    positions: 8192,
    encoder: [26, 8, 9216],
    decoder: [26, 8, 9216],
    activation: "gelu_pytorch_tanh",
    scale_embedding: true,
};

/// Names of the norms of the sublayers' results.
const PLACEMENT: Placement = Placement::Around([
    "post_self_attn_layernorm",
    "post_cross_attn_layernorm",
    "post_feedforward_layernorm",
]);
/// Names of the projections of `T5GemmaSelfAttention`.
const PROJECTIONS: Projections = Projections { output: "o_proj", ..Projections::BART };
/// Every second layer attends to all tokens.
const PATTERN: usize = 2;

/// Names of the parts of a stack.
pub(super) const fn names(stack: &'static str) -> StackNames {
    StackNames {
        stack,
        layers: "layers",
        within: "",
        self_attention: ["self_attn", "pre_self_attn_layernorm"],
        cross_attention: ["cross_attn", "pre_cross_attn_layernorm"],
        feed_forward: ["mlp", "pre_feedforward_layernorm"],
        closing_norm: "norm",
    }
}

/// The encoder or the decoder.
pub(super) struct Side {
    pub(super) stack: Stack,
    pub(super) embedding: Embedding,
    /// Maximum number of tokens.
    pub(super) positions: usize,
}

/// Differences between the layers of a stack.
pub(super) struct Layers {
    /// If config.json does not list the layer types, every `pattern`-th layer attends to all
    /// tokens.
    pub(super) pattern: usize,
    /// Reach of the other layers, by `sliding_window`.
    pub(super) reach: fn(usize) -> [usize; 2],
    /// Rotary positions of layers that attend to all tokens, and of the others.
    pub(super) rotary: [Rotary; 2],
}

/// Reach of a decoder's window: the token itself and those before it.
pub(super) fn behind(window: usize) -> [usize; 2] {
    [window - 1, 0]
}

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let reach = match config.version() {
        Version::V4 => |window| [window - 1; 2],
        Version::V5 => |window| [window; 2],
    };
    let read = |config: &ModelConfig, names, reach| {
        let layers = Layers { pattern: PATTERN, reach, rotary: [rotary(config)?; 2] };
        let mut side = side(family, config, names, &layers)?;
        let field = "attn_logit_softcapping";
        side.stack.attention.softcap = config.positive_or_null(field, Some(50.0))?;
        Ok(side)
    };
    let encoder = config.within("encoder", |config| read(config, family.encoder, reach))?;
    config.within("decoder", |config| {
        let decoder = read(config, family.decoder, behind)?;
        let softcap = config.positive_or_null("final_logit_softcapping", Some(30.0))?;
        Ok(model(family, encoder, decoder, softcap))
    })
}

/// Reads the rotary positions of all layers.
fn rotary(config: &ModelConfig) -> Result<Rotary> {
    let theta = config.positive_or("rope_theta", 10_000.0)?;
    let old = "rope_scaling";
    let field = if config.get(old).is_some() { old } else { "rope_parameters" };
    rotary_of(config, field, theta)
}

/// Reads the rotary positions in `field`. `theta` is the default of `rope_theta`.
pub(super) fn rotary_of(config: &ModelConfig, field: &str, theta: f32) -> Result<Rotary> {
    match config.get(field) {
        Some(_) => config.within(field, |parameters| Rotary::from_config(parameters, theta)),
        None => Ok(Rotary { theta, factor: 1.0 }),
    }
}

/// Reads one side, with the fields of `T5GemmaModuleConfig`.
pub(super) fn side(
    family: &Family,
    config: &ModelConfig,
    names: StackNames,
    layers: &Layers,
) -> Result<Side> {
    let defaults = &family.defaults;
    let hidden = config.size_or("hidden_size", defaults.hidden)?;
    let [count, heads, inner] = defaults.encoder;
    let heads = Heads {
        count: config.heads_or("num_attention_heads", heads, hidden)?,
        size: config.size_or("head_dim", 256)?,
    };
    if !heads.size.is_multiple_of(2) {
        let found = heads.size;
        return Err(wrong("head_dim", format_args!("is {found}, but must be even")));
    }
    let field = "num_key_value_heads";
    let kv_heads = config.size_or(field, 4)?;
    if !heads.count.is_multiple_of(kv_heads) {
        let count = heads.count;
        return Err(wrong(
            field,
            format_args!("is {kv_heads}, which does not divide num_attention_heads {count}"),
        ));
    }
    let count = config.layers_or("num_hidden_layers", count)?;
    let norm = Norm {
        kind: NormKind::OffsetRootMeanSquare,
        size: hidden,
        epsilon: config.positive_or("rms_norm_eps", 1e-6)?,
        placement: family.placement,
    };
    let vocab_size = config.size_or("vocab_size", defaults.vocab_size)?;
    let attention = Attention {
        kv_heads,
        scale: Some(config.positive_or("query_pre_attn_scalar", 256.0)?.sqrt().recip()),
        ..Attention::new(heads, hidden, PROJECTIONS)
    };
    let field = "hidden_activation";
    let feed_forward = FeedForward {
        inner: config.size_or("intermediate_size", inner)?,
        activation: Activation::from_config_or(config, field, defaults.activation)?,
        names: FeedForwardNames::Gated(["gate_proj", "up_proj", "down_proj"]),
    };
    let stack = Stack {
        layer_types: layer_types(config, count, layers)?,
        ..Stack::new((names, count), attention, feed_forward, norm)
    };
    let embedding = Embedding {
        scale: Some((hidden as f32).sqrt()),
        ..Embedding::new(names.below("embed_tokens.weight"), vocab_size, hidden)
    };
    let positions = config.size_or("max_position_embeddings", defaults.positions)?;
    Ok(Side { stack, embedding, positions })
}

/// Reads `layer_types`: the type of each layer's self-attention.
fn layer_types(config: &ModelConfig, count: usize, layers: &Layers) -> Result<Vec<LayerType>> {
    let field = "layer_types";
    let window_field = "sliding_window";
    let window = config.size_or(window_field, 4096)?;
    let [full, sliding] = layers.rotary;
    let full = LayerType { reach: None, rotary: Some(full) };
    let sliding = LayerType { reach: Some((layers.reach)(window)), rotary: Some(sliding) };
    let types: Vec<LayerType> = match config.get(field) {
        None => Ok((1..=count)
            .map(|layer| if layer % layers.pattern == 0 { full } else { sliding })
            .collect()),
        Some(Value::Array(names)) if names.len() == count => names
            .iter()
            .map(|name| match name.as_str() {
                Some("full_attention") => Ok(full),
                Some("sliding_attention") => Ok(sliding),
                _ => Err(wrong(
                    field,
                    format_args!(
                        "has {name}, but layers must be full_attention or sliding_attention"
                    ),
                )),
            })
            .collect(),
        Some(Value::Array(names)) => {
            let found = names.len();
            Err(wrong(field, format_args!("has {found} values for {count} layers")))
        }
        Some(value) => Err(wrong(field, format_args!("is {value}, but must be a list of names"))),
    }?;
    if config.is_null(window_field) && types.iter().any(|layer| layer.reach.is_some()) {
        return Err(wrong(window_field, "is null, but must be a number for sliding_attention"));
    }
    Ok(types)
}

/// Combines both sides.
pub(super) fn model(family: &Family, encoder: Side, decoder: Side, softcap: Option<f32>) -> Model {
    let Embedding { vocab_size, size, .. } = decoder.embedding;
    let output = Output { softcap, ..Output::new(family.tables[3], vocab_size, size) };
    let Side { positions, .. } = encoder;
    let [encoder, decoder] = [encoder, decoder].map(|side| (side.stack, side.embedding));
    Model { separate_tables: true, ..family.assemble(encoder, decoder, output, positions) }
}
