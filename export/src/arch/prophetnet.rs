//! ProphetNet (Qi et al. 2020, "ProphetNet: Predicting Future N-gram for Sequence-to-Sequence
//! Pre-training").
//!
//! Agrees with `transformers/models/prophetnet/modeling_prophetnet.py` with a cache and one token
//! at a time: post-norm layers, learned positions that start in the second row of the table, and
//! the predicting stream. (transformers confuses the relative biases of that stream if it reads
//! several tokens at once, as for a given start of a summary.)

use super::bart::Layers;
use super::blocks::attention::Projections;
use super::blocks::embedding::{Embedding, TokenNorm};
use super::blocks::norm::Placement;
use super::blocks::output::Output;
use super::blocks::positions::{PositionKind, PositionTable};
use super::blocks::predicting::PredictingStream;
use super::blocks::transformer::StackNames;
use super::config::{ModelConfig, wrong};
use super::family::{Defaults, EmbeddingNorm, Family};
use super::model::Model;
use crate::error::Result;

pub(super) static PROPHETNET: Family = Family {
    model_type: "prophetnet",
    title: "ProphetNet",
    tokenizer_class: "ProphetNetTokenizer",
    generation_defaults: &[
        ("bos_token_id", 1),
        ("decoder_start_token_id", 0),
        ("eos_token_id", 2),
        ("pad_token_id", 0),
    ],
    forces_bos_by_old_name: false,
    aliases: &[("num_attention_heads", "num_encoder_attention_heads")],
    aliases_of_5: &[],
    base_prefix: "prophetnet.",
    encoder: ENCODER,
    decoder: StackNames { stack: "prophetnet.decoder", ..ENCODER },
    tables: &[
        "prophetnet.word_embeddings.weight",
        "prophetnet.encoder.word_embeddings.weight",
        "prophetnet.decoder.word_embeddings.weight",
        "lm_head.weight",
    ],
    placement: Placement::Post,
    embedding_norm: EmbeddingNorm::Sum,
    positions: Some(PositionKind::LearnedToEnd { offset: 1 }),
    defaults: Defaults {
        hidden: 1024,
        vocab_size: 30522,
        positions: 512,
        encoder: [12, 16, 4096],
        decoder: [12, 16, 4096],
        activation: "gelu",
        scale_embedding: false,
    },
    read,
};

/// The multilingual model, which differs only in its tokenizer.
pub(super) static XLM_PROPHETNET: Family = Family {
    model_type: "xlm-prophetnet",
    title: "XLM-ProphetNet",
    tokenizer_class: "XLMProphetNetTokenizer",
    ..PROPHETNET
};

const ENCODER: StackNames = StackNames {
    stack: "prophetnet.encoder",
    layers: "layers",
    within: "",
    self_attention: ["self_attn", "self_attn_layer_norm"],
    cross_attention: ["cross_attn", "cross_attn_layer_norm"],
    feed_forward: ["feed_forward", "feed_forward_layer_norm"],
    closing_norm: "",
};
const LAYERS: Layers = Layers {
    prefix: "num_",
    projections: Projections {
        query: "query_proj",
        key: "key_proj",
        value: "value_proj",
        output: "out_proj",
    },
    feed_forward: ["intermediate", "output"],
};

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let defaults = &family.defaults;
    if !config.flag("add_cross_attention", true)? {
        return Err(wrong("add_cross_attention", "is false, but must be true"));
    }
    let vocab_size = config.size_or("vocab_size", defaults.vocab_size)?;
    let padding = config.token_or("pad_token_id", 0, vocab_size)?;
    if padding != 0 {
        // transformers fails at the second token here.
        return Err(wrong("pad_token_id", format_args!("is {padding}, but must be 0")));
    }
    let positions = config.size_or("max_position_embeddings", defaults.positions)?;
    if positions < 4 {
        let problem = format_args!("is {positions}, but must be at least 4");
        return Err(wrong("max_position_embeddings", problem));
    }
    let hidden = config.size_or("hidden_size", defaults.hidden)?;
    let (norm, [encoder, decoder]) = LAYERS.read(family, config, hidden)?;
    let table = family.positions.map(|kind| PositionTable { kind, positions, hidden });
    let embedding = |names: &StackNames| Embedding {
        positions: table.map(|table| (names.below("position_embeddings"), table)),
        norm: Some(TokenNorm {
            name: names.below("embeddings_layer_norm"),
            norm,
            before_positions: false,
        }),
        ..Embedding::new(names.below("word_embeddings.weight"), vocab_size, hidden)
    };
    let streams = "prophetnet.decoder.ngram_embeddings.weight";
    let predicting = PredictingStream::from_config(config, streams, decoder.attention.heads)?;
    let output = Output {
        tied: config.flag("tie_word_embeddings", true)?,
        ..Output::new(family.tables[3], vocab_size, hidden)
    };
    let encoder = (encoder, embedding(&family.encoder));
    let decoder = (decoder, embedding(&family.decoder));
    Ok(Model {
        predicting: Some(predicting),
        // A token's position begins at the second row, and its stream's is one further.
        max_target_positions: Some(positions - 2),
        ..family.assemble(encoder, decoder, output, positions)
    })
}
