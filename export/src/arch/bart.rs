//! BART (Lewis et al. 2019, "BART: Denoising Sequence-to-Sequence Pre-training for Natural Language
//! Generation, Translation, and Comprehension") and distilbart.
//!
//! Agrees with `transformers/models/bart/modeling_bart.py`: post-norm layers, a norm over the
//! embeddings, learned positions that start in the third row of their table.

use super::blocks::activation::Activation;
use super::blocks::attention::{Attention, Projections};
use super::blocks::embedding::{Embedding, TokenNorm};
use super::blocks::feed_forward::{FeedForward, FeedForwardNames};
use super::blocks::heads::Heads;
use super::blocks::norm::{Norm, NormKind, Placement};
use super::blocks::output::Output;
use super::blocks::positions::{PositionKind, PositionTable};
use super::blocks::transformer::{Stack, StackNames};
use super::config::ModelConfig;
use super::family::{Defaults, EmbeddingNorm, Family};
use super::model::Model;
use crate::error::Result;

pub(super) static BART: Family = Family {
    model_type: "bart",
    title: "BART",
    tokenizer_class: "BartTokenizer",
    generation_defaults: &[
        ("bos_token_id", 0),
        ("decoder_start_token_id", 2),
        ("eos_token_id", 2),
        ("forced_eos_token_id", 2),
        ("pad_token_id", 1),
    ],
    forces_bos_by_old_name: true,
    aliases: &[("hidden_size", "d_model"), ("num_attention_heads", "encoder_attention_heads")],
    aliases_of_5: &[("num_hidden_layers", "encoder_layers")],
    base_prefix: "model.",
    encoder: StackNames::bart("model.encoder"),
    decoder: StackNames::bart("model.decoder"),
    tables: &[
        "model.shared.weight",
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
        "lm_head.weight",
    ],
    placement: Placement::Post,
    embedding_norm: EmbeddingNorm::Sum,
    positions: Some(PositionKind::Learned { offset: 2 }),
    defaults: DEFAULTS,
    read,
};

/// Default values of `BartConfig`, in `transformers/models/bart/configuration_bart.py`.
pub(super) const DEFAULTS: Defaults = Defaults {
    hidden: 1024,
    vocab_size: 50265,
    positions: 1024,
    encoder: [12, 16, 4096],
    decoder: [12, 16, 4096],
    activation: "gelu",
    scale_embedding: false,
};

/// Maximum number of tokens of a source whose positions are unlimited. The time of full attention
/// grows with the square of the length.
const ENDLESS_SOURCE: usize = 16384;

/// Names of config fields and tensors of the layers, which differ between families.
pub(super) struct Layers {
    /// Prefix of `encoder_layers`, `encoder_attention_heads` and the same fields of the decoder.
    pub(super) prefix: &'static str,
    /// Names of the linear layers of an attention.
    pub(super) projections: Projections,
    /// Names of the two feed-forward layers.
    pub(super) feed_forward: [&'static str; 2],
}

impl Layers {
    /// Reads the encoder and decoder stacks for hidden states of size `hidden`, and the norm of
    /// both.
    pub(super) fn read(
        &self,
        family: &Family,
        config: &ModelConfig,
        hidden: usize,
    ) -> Result<(Norm, [Stack; 2])> {
        let (prefix, defaults) = (self.prefix, &family.defaults);
        let activation =
            Activation::from_config_or(config, "activation_function", defaults.activation)?;
        let placement = family.placement;
        let norm = Norm { kind: NormKind::Layer, size: hidden, epsilon: 1e-5, placement };
        let stack = |names, side: &str, [layers, heads, inner]: [usize; 3]| -> Result<Stack> {
            let field = format!("{prefix}{side}_attention_heads");
            let count = config.heads_or(&field, heads, hidden)?;
            let heads = Heads { count, size: hidden / count };
            let layers = config.layers_or(&format!("{prefix}{side}_layers"), layers)?;
            let feed_forward = FeedForward {
                inner: config.size_or(&format!("{side}_ffn_dim"), inner)?,
                activation,
                names: FeedForwardNames::Plain(self.feed_forward),
            };
            let attention = Attention::new(heads, hidden, self.projections);
            Ok(Stack::new((names, layers), attention, feed_forward, norm))
        };
        let encoder = stack(family.encoder, "encoder", defaults.encoder)?;
        Ok((norm, [encoder, stack(family.decoder, "decoder", defaults.decoder)?]))
    }
}

/// Reads a config.json with the fields of `BartConfig`.
pub(super) fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let defaults = &family.defaults;
    let hidden = config.size_or("d_model", defaults.hidden)?;
    let layers =
        Layers { prefix: "", projections: Projections::BART, feed_forward: ["fc1", "fc2"] };
    let (norm, [encoder, decoder]) = layers.read(family, config, hidden)?;
    let vocab_size = config.size_or("vocab_size", defaults.vocab_size)?;
    let positions = config.size_or("max_position_embeddings", defaults.positions)?;
    let table = family.positions.map(|kind| PositionTable { kind, positions, hidden });
    let endless = family.positions.is_some_and(PositionKind::is_endless);
    let embedding = |names: &StackNames, before_positions| -> Result<Embedding> {
        let norm =
            |_| TokenNorm { name: names.below("layernorm_embedding"), norm, before_positions };
        let scaled = config.flag("scale_embedding", defaults.scale_embedding)?;
        Ok(Embedding {
            scale: scaled.then(|| (hidden as f32).sqrt()),
            positions: table.map(|table| (names.below("embed_positions"), table)),
            norm: Some(family.embedding_norm).filter(|of| *of != EmbeddingNorm::None).map(norm),
            ..Embedding::new(names.below("embed_tokens.weight"), vocab_size, hidden)
        })
    };
    let tokens_alone = family.embedding_norm == EmbeddingNorm::SumThenTokens;
    let unused = [family.encoder, family.decoder].map(|stack| stack.below("version"));
    let output = Output {
        tied: config.flag("tie_word_embeddings", true)?,
        ..Output::new(family.tables[3], vocab_size, hidden)
    };
    let encoder = (encoder, embedding(&family.encoder, false)?);
    let decoder = (decoder, embedding(&family.decoder, tokens_alone)?);
    let source_positions = if endless { positions.max(ENDLESS_SOURCE) } else { positions };
    Ok(Model {
        max_target_positions: (!endless).then_some(positions),
        unused: unused.to_vec(),
        ..family.assemble(encoder, decoder, output, source_positions)
    })
}
