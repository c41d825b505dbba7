//! T5 (Raffel et al. 2019, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
//! Transformer"), T5 v1.1 and Flan-T5.
//!
//! Agrees with `transformers/models/t5/modeling_t5.py`: pre-norm layers with root-mean-square
//! norms, no biases, and a relative bias in self-attention in place of positions. The last hidden
//! states are scaled unless config.json sets `tie_word_embeddings` to false; transformers 5 always
//! ties, and keeps that choice as `scale_decoder_outputs`. An output table that differs from the
//! embedding is used, whatever config.json says.

use super::blocks::activation::Activation;
use super::blocks::attention::{Attention, Projections};
use super::blocks::embedding::Embedding;
use super::blocks::feed_forward::{FeedForward, FeedForwardNames};
use super::blocks::heads::Heads;
use super::blocks::norm::{Norm, NormKind, Placement};
use super::blocks::output::Output;
use super::blocks::relative_bias::{BiasLayers, RelativeBias};
use super::blocks::transformer::{Stack, StackNames};
use super::config::{ModelConfig, wrong};
use super::family::{Defaults, EmbeddingNorm, Family};
use super::model::{EncoderLayers, Model};
use crate::error::Result;

pub(super) static T5: Family = Family {
    model_type: "t5",
    title: "T5",
    tokenizer_class: "T5Tokenizer",
    generation_defaults: &[("eos_token_id", 1), ("pad_token_id", 0)],
    forces_bos_by_old_name: false,
    aliases: &[
        ("hidden_size", "d_model"),
        ("num_attention_heads", "num_heads"),
        ("head_dim", "d_kv"),
    ],
    aliases_of_5: &[],
    base_prefix: "",
    encoder: ENCODER,
    decoder: StackNames {
        stack: "decoder",
        feed_forward: ["2.DenseReluDense", "2.layer_norm"],
        ..ENCODER
    },
    tables: &[
        "shared.weight",
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
        "lm_head.weight",
    ],
    placement: Placement::Pre,
    embedding_norm: EmbeddingNorm::None,
    positions: None,
    defaults: DEFAULTS,
    read: |family, config| {
        let scaled_output = outputs_are_scaled(config)?;
        read(family, config, BiasLayers::First, scaled_output)
    },
};

/// Names of the encoder's parts.
pub(super) const ENCODER: StackNames = StackNames {
    stack: "encoder",
    layers: "block",
    within: ".layer",
    self_attention: ["0.SelfAttention", "0.layer_norm"],
    cross_attention: ["1.EncDecAttention", "1.layer_norm"],
    feed_forward: ["1.DenseReluDense", "1.layer_norm"],
    closing_norm: "final_layer_norm",
};

/// Default values of `T5Config`, in `transformers/models/t5/configuration_t5.py`.
pub(super) const DEFAULTS: Defaults = Defaults {
    hidden: 512,
    vocab_size: 32128,
    positions: 4096,
    encoder: [6, 8, 2048],
    decoder: [6, 8, 2048],
    activation: "relu",
    scale_embedding: false,
};

/// A tensor of old checkpoints that no graph reads.
const UNUSED: &str = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";

/// Whether the last hidden states are divided by the square root of their size.
pub(super) fn outputs_are_scaled(config: &ModelConfig) -> Result<bool> {
    let scaled = config.flag("tie_word_embeddings", true)?;
    config.flag("scale_decoder_outputs", scaled)
}

/// Reads a config.json with the fields of `T5Config`. `bias_layers` are the layers with a relative
/// bias of their own. With `scaled_output` the last hidden states are divided by the square root of
/// their size.
pub(super) fn read(
    family: &Family,
    config: &ModelConfig,
    bias_layers: BiasLayers,
    scaled_output: bool,
) -> Result<Model> {
    let defaults = &family.defaults;
    let hidden = config.size_or("d_model", defaults.hidden)?;
    let [layers, heads, _] = defaults.encoder;
    let heads =
        Heads { count: config.size_or("num_heads", heads)?, size: config.size_or("d_kv", 64)? };
    let attention =
        Attention { scale: Some(1.0), ..Attention::new(heads, hidden, Projections::T5) };
    let norm = Norm {
        kind: NormKind::RootMeanSquare,
        size: hidden,
        epsilon: config.positive_or("layer_norm_epsilon", 1e-6)?,
        placement: family.placement,
    };
    let feed_forward = feed_forward(config, defaults)?;
    let stack = |names, layers| Stack::new((names, layers), attention, feed_forward, norm);
    let layers = config.layers_or("num_layers", layers)?;
    // `num_hidden_layers` is another name of `num_layers`, which the decoder's default ignores.
    let encoder_layers = config.layers_or("num_hidden_layers", layers)?;
    let vocab_size = config.size_or("vocab_size", defaults.vocab_size)?;
    let embedding =
        |names: &StackNames| Embedding::new(names.below("embed_tokens.weight"), vocab_size, hidden);
    let output = Output {
        scale: scaled_output.then(|| (hidden as f32).sqrt().recip()),
        ..Output::new(family.tables[3], vocab_size, hidden)
    };
    let decoder_layers = config.layers_or("num_decoder_layers", layers)?;
    let encoder = (stack(family.encoder, encoder_layers), embedding(&family.encoder));
    let decoder = (stack(family.decoder, decoder_layers), embedding(&family.decoder));
    let bias = |of_source| RelativeBias::from_config(config, bias_layers, heads.count, of_source);
    Ok(Model {
        encoder_layers: full_attention(bias(true)?),
        target_bias: Some(bias(false)?),
        unused: vec![UNUSED.into()],
        ..family.assemble(encoder, decoder, output, defaults.positions)
    })
}

/// Reads `feed_forward_proj`: the name of an activation function, with the prefix `gated-` if there
/// is a gate.
fn feed_forward(config: &ModelConfig, defaults: &Defaults) -> Result<FeedForward> {
    const FIELD: &str = "feed_forward_proj";
    let text = config.string_or(FIELD, defaults.activation)?;
    let (gated, name) = match text.split_once('-') {
        None => (false, text),
        // The T5 v1.1 checkpoints say gelu and mean `gelu_new`.
        Some(("gated", "gelu")) => (true, "gelu_new"),
        Some(("gated", name)) => (true, name),
        Some(_) => {
            return Err(wrong(
                FIELD,
                format_args!("is '{text}', but must be an activation function or gated-<one>"),
            ));
        }
    };
    Ok(FeedForward {
        inner: config.size_or("d_ff", defaults.encoder[2])?,
        activation: Activation::named(FIELD, name)?,
        names: match gated {
            true => FeedForwardNames::Gated(["wi_0", "wi_1", "wo"]),
            false => FeedForwardNames::Plain(["wi", "wo"]),
        },
    })
}

/// The encoder's layers, with self-attention over the whole source.
fn full_attention(bias: RelativeBias) -> EncoderLayers {
    Box::new(move |b, encoder, inputs, x| {
        let biases = b.scoped("relative_bias", |b| {
            let own = match bias.layers {
                BiasLayers::First => 1,
                BiasLayers::Every => encoder.layers,
            };
            (0..own)
                .map(|layer| bias.of_source(b, &bias.name(&encoder.names, layer), inputs))
                .collect::<Result<Vec<_>>>()
        })?;
        encoder.encoder(b, (inputs, x), &mut |b, (layer, name), x| {
            let bias = &biases[layer.min(biases.len() - 1)];
            let attention = &encoder.attention;
            attention.encoder_self_attention(b, name, x, inputs, Some(bias))
        })
    })
}
