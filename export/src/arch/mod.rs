//! The architectures: each is a [`Family`], which describes how its models differ from others.
//!
//! A new architecture is one file here and two lines below: its `mod`, and one in [`FAMILIES`]. A
//! [`Family`] and a config.json make a [`model::Model`], which writes the graphs. [`blocks`] has
//! the building blocks.

mod blocks;
mod builder;
mod config;
#[cfg(test)]
mod config_tests;
mod family;
mod model;
mod weights;

mod bart;
mod bigbird_pegasus;
mod blenderbot;
mod blenderbot_small;
mod encoder_decoder;
mod fsmt;
mod led;
mod longt5;
mod m2m_100;
mod marian;
mod mbart;
mod mt5;
mod mvp;
mod nllb_moe;
mod pegasus;
mod pegasus_x;
mod plbart;
mod prophetnet;
mod switch_transformers;
mod t5;
mod t5gemma;
mod t5gemma2;
mod umt5;

pub(crate) use config::ModelConfig;
pub(crate) use family::Family;
pub(crate) use weights::ModelWeights;

use std::path::Path;

use serde_json::{Map, Value};

use crate::checkpoint::{CONFIG, read_object};
use crate::error::{Error, Result};

/// Every architecture, by `model_type`.
static FAMILIES: &[&Family] = &[
    &bart::BART,
    &bigbird_pegasus::BIGBIRD_PEGASUS,
    &blenderbot::BLENDERBOT,
    &blenderbot_small::BLENDERBOT_SMALL,
    &encoder_decoder::ENCODER_DECODER,
    &fsmt::FSMT,
    &led::LED,
    &longt5::LONGT5,
    &m2m_100::M2M_100,
    &marian::MARIAN,
    &mbart::MBART,
    &mt5::MT5,
    &mvp::MVP,
    &nllb_moe::NLLB_MOE,
    &pegasus::PEGASUS,
    &pegasus_x::PEGASUS_X,
    &plbart::PLBART,
    &prophetnet::PROPHETNET,
    &switch_transformers::SWITCH_TRANSFORMERS,
    &t5::T5,
    &t5gemma::T5GEMMA,
    &t5gemma2::T5GEMMA2,
    &umt5::UMT5,
    &prophetnet::XLM_PROPHETNET,
];

/// The architecture of this `model_type`, if it is known.
pub(crate) fn find(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().copied().find(|known| known.model_type == model_type)
}

/// The tokenizer class that transformers chooses if this config.json names none.
pub(crate) fn tokenizer_class(config: &Map<String, Value>) -> Option<&'static str> {
    let model_type = config.get("model_type")?.as_str()?;
    if model_type == encoder_decoder::ENCODER_DECODER.model_type {
        return tokenizer_class(config.get("encoder")?.as_object()?);
    }
    let of_family = find(model_type).map(|family| family.tokenizer_class);
    of_family.or_else(|| encoder_decoder::tokenizer_class(model_type))
}

/// Checks that the config.json in `folder` has an architecture that can be exported.
///
/// # Errors
///
/// [`Error`] says what is wrong with the file, or names the architectures that are known.
pub fn check_supported(folder: &Path) -> Result<()> {
    of(&ModelConfig::new(read_object(folder, CONFIG)?, 0)).map(|_| ())
}

/// The architecture that config.json names.
pub(crate) fn of(config: &ModelConfig) -> Result<&'static Family> {
    let found = config.string("model_type")?;
    find(found).ok_or_else(|| Error::UnknownModelType {
        found: found.into(),
        known: FAMILIES.iter().map(|known| known.model_type.into()).collect(),
    })
}
