//! Encoder-decoders that were put together from two models (Rothe et al. 2020, "Leveraging
//! Pre-trained Checkpoints for Sequence Generation Tasks"): bert2bert and its kin.
//!
//! Agrees with `transformers/models/encoder_decoder/modeling_encoder_decoder.py`. config.json holds
//! the configurations of both as `encoder` and `decoder`. The decoder has cross-attention, which
//! reads the encoder's hidden states through a linear layer where the sizes differ. transformers 4
//! lets both share all weights (`tie_encoder_decoder`), and then the decoder's are taken.

mod bert;
mod distilbert;
mod gpt2;

use super::bart::BART;
use super::blocks::embedding::Embedding;
use super::blocks::inputs::Memory;
use super::blocks::output::Output;
use super::blocks::transformer::Stack;
use super::config::{ModelConfig, wrong};
use super::family::Family;
use super::model::Model;
use super::weights::Alias;
use crate::error::Result;
use crate::version::Version;

pub(super) static ENCODER_DECODER: Family = Family {
    model_type: "encoder-decoder",
    title: "Encoder-decoder",
    generation_defaults: &[],
    forces_bos_by_old_name: false,
    aliases: &[],
    aliases_of_5: &[],
    base_prefix: "",
    read,
    ..BART
};

/// A model that can be a side of another.
struct Kind {
    /// `model_type` of its configuration.
    model_type: &'static str,
    /// The tokenizer class that transformers chooses for it.
    tokenizer_class: &'static str,
    /// Reads it as an encoder.
    encoder: Option<fn(&ModelConfig) -> Result<Half>>,
    /// Reads it as a decoder.
    decoder: Option<fn(&ModelConfig) -> Result<Half>>,
    /// Reads it as an encoder whose weights are the decoder's.
    shared: Option<fn(&ModelConfig) -> Result<Half>>,
}

/// One side of a model.
struct Half {
    stack: Stack,
    embedding: Embedding,
    /// Checkpoint name of its embedding table.
    table: &'static str,
    /// A decoder's.
    output: Option<Output>,
    /// Most tokens.
    positions: usize,
    aliases: Vec<(String, Alias)>,
    unused: Vec<String>,
}

static KINDS: &[Kind] = &[
    bert::BERT,
    bert::CAMEMBERT,
    distilbert::DISTILBERT,
    bert::ELECTRA,
    gpt2::GPT2,
    bert::ROBERTA,
    bert::XLM_ROBERTA,
];

/// The tokenizer class that transformers chooses for a model that can be a side of another.
pub(super) fn tokenizer_class(model_type: &str) -> Option<&'static str> {
    let kind = KINDS.iter().find(|kind| kind.model_type == model_type)?;
    Some(kind.tokenizer_class)
}

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let tied = config.version() == Version::V4 && config.flag("tie_encoder_decoder", false)?;
    let decoder_type =
        config.within("decoder", |config| config.string("model_type").map(str::to_owned))?;
    let encoder = config.within("encoder", |config| {
        let model_type = config.string("model_type")?;
        if tied && model_type != decoder_type {
            return Err(wrong(
                "model_type",
                format_args!(
                    "is '{model_type}', but must be '{decoder_type}' as the decoder's, since \
                     tie_encoder_decoder is true"
                ),
            ));
        }
        let reads: fn(&Kind) -> _ = match tied {
            true => |kind| kind.shared,
            false => |kind| kind.encoder,
        };
        half(config, reads)
    })?;
    let decoder = config.within("decoder", |config| {
        if !config.flag("is_decoder", true)? {
            return Err(wrong("is_decoder", "is false, but must be true"));
        }
        let hidden = encoder.stack.norm.size;
        let decoder = half(config, |kind| kind.decoder)?;
        match config.optional_size("cross_attention_hidden_size")? {
            Some(size) if [hidden, decoder.stack.norm.size] != [size; 2] => Err(wrong(
                "cross_attention_hidden_size",
                format_args!(
                    "is {size}, but must be the hidden size of both encoder ({hidden}) and decoder \
                     ({})",
                    decoder.stack.norm.size
                ),
            )),
            _ => Ok(decoder),
        }
    })?;
    let [size, read] = [&encoder, &decoder].map(|half| half.stack.norm.size);
    let output = decoder.output.expect("a decoder has an output");
    let mut unused = [encoder.unused, decoder.unused].concat();
    if tied {
        unused.push("encoder.".into());
    }
    let memory = Memory {
        projection: (size != read).then_some(("enc_to_dec_proj", read)),
        ..Memory::plain(size)
    };
    let tables = [decoder.table, encoder.table, decoder.table, output.table];
    let aliases = [encoder.aliases, decoder.aliases].concat();
    let positions = encoder.positions;
    let encoder = (encoder.stack, encoder.embedding);
    Ok(Model {
        memory,
        tables,
        separate_tables: true,
        max_target_positions: Some(decoder.positions),
        aliases,
        unused,
        ..Model::new(family, encoder, (decoder.stack, decoder.embedding), output, positions)
    })
}

/// Reads one side in the way that `reads` finds in its kind.
fn half(
    config: &ModelConfig,
    reads: impl Fn(&Kind) -> Option<fn(&ModelConfig) -> Result<Half>>,
) -> Result<Half> {
    let found = config.string("model_type")?;
    let read = KINDS.iter().find(|kind| kind.model_type == found).and_then(&reads);
    match read {
        Some(read) => read(config),
        None => {
            let known: Vec<_> = KINDS.iter().filter(|kind| reads(kind).is_some()).collect();
            let known: Vec<_> = known.iter().map(|kind| kind.model_type).collect();
            Err(wrong(
                "model_type",
                format_args!("is '{found}', but must be one of {}", known.join(", ")),
            ))
        }
    }
}
