//! T5Gemma 2 (Zhang et al. 2025, "T5Gemma 2: Seeing, Reading, and Understanding Longer"), for text.
//!
//! Agrees with `transformers/models/t5gemma2/modeling_t5gemma2.py`: encoder and decoder are both
//! Gemma 3. The heads of queries and keys are normalized, and layers with a window have rotary
//! positions of their own. A decoder layer attends to its tokens and to the source in one softmax,
//! with the same weights. All tables are tied. The vision tower is left out: text does not use it.

use super::blocks::attention::Attention;
use super::blocks::norm::Norm;
use super::blocks::rotary::Rotary;
use super::blocks::transformer::StackNames;
use super::config::{ModelConfig, wrong};
use super::family::{Defaults, Family};
use super::model::Model;
use super::t5gemma::{self, Layers, Side, T5GEMMA, behind, rotary_of};
use super::weights::Alias;
use crate::error::Result;

pub(super) static T5GEMMA2: Family = Family {
    model_type: "t5gemma2",
    title: "T5Gemma 2",
    encoder: t5gemma::names("model.encoder.text_model"),
    // Self-attention's projections compute the keys and values of the source too.
    decoder: StackNames {
        cross_attention: t5gemma::names("model.decoder").self_attention,
        ..t5gemma::names("model.decoder")
    },
    tables: &[
        "model.encoder.text_model.embed_tokens.weight",
        "model.encoder.text_model.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
        "lm_head.out_proj.weight",
    ],
    // Default values of `T5Gemma2TextConfig`.
    defaults: Defaults { vocab_size: 262_208, positions: 131_072, ..T5GEMMA.defaults },
    read,
    ..T5GEMMA
};

/// Prefix of the encoder's tensors in a checkpoint. In memory they are below `text_model`.
const SAVED_ENCODER: &str = "model.encoder";
/// Prefixes of tensors that only images use.
const VISION: [&str; 2] = ["model.encoder.vision_tower.", "model.encoder.multi_modal_projector."];

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let (encoder, end_of_image) = config.within("encoder", |config| {
        let field = "eoi_token_index";
        let default = config.size_or("eoi_token_id", 256_000)?;
        let text = config.within("text_config", |config| {
            side(family, config, family.encoder, |window| [window.div_ceil(2) - 1, window / 2])
        })?;
        Ok((text, config.size_or(field, default)?))
    })?;
    config.within("decoder", |config| {
        let mut decoder = side(family, config, family.decoder, behind)?;
        decoder.stack.attention.merged = true;
        let same = [
            ("hidden_size", encoder.embedding.size, decoder.embedding.size),
            ("vocab_size", encoder.embedding.vocab_size, decoder.embedding.vocab_size),
        ];
        for (field, of_encoder, of_decoder) in same {
            if of_encoder != of_decoder {
                return Err(wrong(
                    field,
                    format_args!("is {of_decoder}, but must be {of_encoder} as the encoder's"),
                ));
            }
        }
        let softcap = config.positive_or_null("final_logit_softcapping", None)?;
        let layers = encoder.stack.layers;
        let mut model = t5gemma::model(family, encoder, decoder, softcap);
        model.separate_tables = false;
        let marks = [family.encoder, family.decoder].map(|names| names.below(END_OF_IMAGE));
        if end_of_image < model.source.vocab_size {
            let token = end_of_image as u32;
            let of_both = marks[0].clone();
            model.source.replaced = Some((token, of_both.clone()));
            model.target.replaced = Some((token, of_both));
        }
        model.aliases = saved_names(family.encoder, layers);
        model.unused = [VISION.map(str::to_owned), marks].concat();
        Ok(model)
    })
}

/// Name of the vector of the token that ends an image, below a stack.
const END_OF_IMAGE: &str = "embed_tokens.eoi_embedding";

/// Reads one side, with the fields of `T5Gemma2TextConfig`.
fn side(
    family: &Family,
    config: &ModelConfig,
    names: StackNames,
    reach: fn(usize) -> [usize; 2],
) -> Result<Side> {
    let theta = config.positive_or("rope_theta", 1_000_000.0)?;
    let local_theta = config.positive_or("rope_local_base_freq", 10_000.0)?;
    let field = "rope_parameters";
    let old = "rope_scaling";
    let rotary = match (config.get(old), config.get(field)) {
        (Some(_), Some(_)) => {
            return Err(wrong(old, "is given beside rope_parameters, but must be absent then"));
        }
        (None, Some(_)) => config.within(field, |config| {
            Ok([
                rotary_of(config, "full_attention", theta)?,
                rotary_of(config, "sliding_attention", local_theta)?,
            ])
        })?,
        _ => [rotary_of(config, old, theta)?, Rotary { theta: local_theta, factor: 1.0 }],
    };
    let pattern = config.size_or("sliding_window_pattern", 6)?;
    let mut side = t5gemma::side(family, config, names, &Layers { pattern, reach, rotary })?;
    let attention = side.stack.attention;
    let norm = Norm { size: attention.heads.size, ..side.stack.norm };
    side.stack.attention = Attention { head_norm: Some((norm, ["q_norm", "k_norm"])), ..attention };
    Ok(side)
}

/// The encoder's tensors by their name in memory, with their name in a checkpoint.
fn saved_names(names: StackNames, layers: usize) -> Vec<(String, Alias)> {
    let parts = [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "self_attn.q_norm",
        "self_attn.k_norm",
        "pre_self_attn_layernorm",
        "post_self_attn_layernorm",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ];
    let of_layers = (0..layers).flat_map(|layer| {
        parts.iter().flat_map(move |part| {
            ["weight", "bias"].map(|kind| format!("layers.{layer}.{part}.{kind}"))
        })
    });
    let others = ["norm.weight", "embed_tokens.weight", END_OF_IMAGE];
    of_layers
        .chain(others.map(str::to_owned))
        .map(|name| (names.below(&name), Alias::Instead(format!("{SAVED_ENCODER}.{name}"))))
        .collect()
}
