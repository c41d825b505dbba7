//! Encoder-decoders that consist of two pretrained models (Rothe et al. 2020, "Leveraging
//! Pre-trained Checkpoints for Sequence Generation Tasks"), such as bert2bert.
//!
//! Agrees with `transformers/models/encoder_decoder/modeling_encoder_decoder.py`. config.json holds
//! both configurations as `encoder` and `decoder`. The decoder has cross-attention, which reads the
//! encoder's hidden states through a linear layer if the sizes differ. transformers 4 can tie all
//! weights of both (`tie_encoder_decoder`); the decoder's are used then.

mod bert;
mod distilbert;
mod gpt2;
mod submodel;

use super::bart::BART;
use super::blocks::inputs::Memory;
use super::config::{ModelConfig, wrong};
use super::family::Family;
use super::model::Model;
use crate::error::Result;
use crate::version::Version;
use submodel::{Submodel, SubmodelType};

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

static SUBMODEL_TYPES: &[SubmodelType] = &[
    bert::BERT,
    bert::CAMEMBERT,
    distilbert::DISTILBERT,
    bert::ELECTRA,
    gpt2::GPT2,
    bert::ROBERTA,
    bert::XLM_ROBERTA,
];

/// The tokenizer class that transformers chooses for a submodel of this type.
pub(super) fn tokenizer_class(model_type: &str) -> Option<&'static str> {
    let kind = SUBMODEL_TYPES.iter().find(|kind| kind.model_type == model_type)?;
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
        let reads: fn(&SubmodelType) -> _ = match tied {
            true => |kind| kind.shared,
            false => |kind| kind.encoder,
        };
        read_submodel(config, reads)
    })?;
    let decoder = config.within("decoder", |config| {
        if !config.flag("is_decoder", true)? {
            return Err(wrong("is_decoder", "is false, but must be true"));
        }
        let hidden = encoder.stack.norm.size;
        let decoder = read_submodel(config, |kind| kind.decoder)?;
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
    let [size, read] = [&encoder, &decoder].map(|model| model.stack.norm.size);
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
        ..family.assemble(encoder, (decoder.stack, decoder.embedding), output, positions)
    })
}

/// Reads the configuration of a submodel with the function that `reads` finds in its type.
fn read_submodel(
    config: &ModelConfig,
    reads: impl Fn(&SubmodelType) -> Option<fn(&ModelConfig) -> Result<Submodel>>,
) -> Result<Submodel> {
    let found = config.string("model_type")?;
    let read = SUBMODEL_TYPES.iter().find(|kind| kind.model_type == found).and_then(&reads);
    match read {
        Some(read) => read(config),
        None => {
            let known = SUBMODEL_TYPES.iter().filter(|kind| reads(kind).is_some());
            let known: Vec<_> = known.map(|kind| kind.model_type).collect();
            Err(wrong(
                "model_type",
                format_args!("is '{found}', but must be one of {}", known.join(", ")),
            ))
        }
    }
}
