//! The checkpoint's tokenizer, as the bundle keeps it: one `tokenizer.json`, whatever files a
//! training job left.
//!
//! A `tokenizer.json` in the checkpoint is taken as it is, without the truncation and padding of
//! the training run. Where there is none, one is made from the files of the tokenizer's class: the
//! one that `tokenizer_config.json` names, or the one that belongs to `model_type`, as transformers'
//! `AutoTokenizer` chooses (`models/auto/tokenization_auto.py`). What is missing or contradicts
//! itself is refused by name; nothing is guessed.

mod blenderbot_small;
mod blueprint;
mod byte_level;
mod family;
mod fsmt;
mod m2m_100;
mod marian;
mod mbart;
mod native;
mod nllb;
mod pegasus;
mod plbart;
mod sentencepiece;
mod settings;
mod t5;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use epitome_runtime::bundle::Surplus;
use serde_json::{Map, Value, json};
use tokenizers::decoders::DecoderWrapper;
use tokenizers::{ModelWrapper, Tokenizer};

use self::family::{Class, Folder, Tidying};
use self::settings::Settings;
use crate::arch;
use crate::error::{Error, Result};

const TOKENIZER: &str = "tokenizer.json";
/// `model_max_length` of a tokenizer that sets no limit is a huge number (1e30); no model reads more
/// tokens than this.
const NO_LIMIT: f64 = 1e9;
/// Files that a vocabulary can be in.
pub(crate) const VOCABULARIES: [&str; 11] = [
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "source.spm",
    "target.spm",
    "vocab.json",
    "merges.txt",
    "target_vocab.json",
    "vocab.txt",
    "vocab-src.json",
    "vocab-tgt.json",
];
/// Every class that can be converted.
fn classes() -> impl Iterator<Item = Class> {
    [
        pegasus::PEGASUS,
        t5::T5,
        mbart::MBART,
        mbart::MBART_50,
        marian::MARIAN,
        m2m_100::M2M_100,
        nllb::NLLB,
        plbart::PLBART,
        byte_level::BLENDERBOT,
        blenderbot_small::BLENDERBOT_SMALL,
        fsmt::FSMT,
    ]
    .into_iter()
    .chain(byte_level::ROBERTA)
}

/// A tokenizer, and what the runtime must know beside it.
#[derive(Debug)]
struct Converted {
    tokenizer: Tokenizer,
    surplus: Option<Surplus>,
}

/// What the bundle's manifest records of its tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notes {
    /// Tokens that the model does not know.
    pub(crate) surplus: Option<Surplus>,
    /// The token of the language that the tokenizer was set to write, `tgt_lang`.
    pub(crate) target_language: Option<u32>,
}

/// Writes the tokenizer of the checkpoint in `from`, whose config.json is `config`, to the file `to`.
///
/// # Errors
///
/// The checkpoint has no tokenizer, or one that cannot be read, or one with more pieces than the
/// `vocab_size` of the model.
pub(crate) fn convert(
    from: &Path,
    config: &Map<String, Value>,
    vocab_size: usize,
    to: &Path,
) -> Result<Notes> {
    let converted = read(from, config)?;
    fits(&converted, vocab_size)?;
    let text = converted
        .tokenizer
        .to_string(false)
        .map_err(|error| unusable(TOKENIZER, &error))?;
    fs::write(to, text).map_err(|source| Error::io(to, source))?;
    Ok(Notes {
        surplus: converted.surplus,
        target_language: target_language(&Settings::read(from)?, &converted.tokenizer),
    })
}

/// The token of `tgt_lang`: the language itself (mBART, NLLB) or `__language__` (M2M-100).
fn target_language(settings: &Settings, tokenizer: &Tokenizer) -> Option<u32> {
    let language = settings.text("tgt_lang")?;
    let added = tokenizer.get_added_vocabulary().get_vocab();
    let names = [language.to_owned(), format!("__{language}__")];
    names.iter().find_map(|name| added.get(name).copied())
}

/// Most tokens of a source: what the tokenizer's own configuration says, within what the model's
/// position table holds.
pub(crate) fn max_source_tokens(from: &Path, positions: usize) -> Result<usize> {
    let limit = Settings::read(from)?
        .model_max_length()
        .filter(|limit| (2.0..NO_LIMIT).contains(limit));
    Ok(limit.map_or(positions, |limit| positions.min(limit as usize)))
}

/// What the model was trained to find before every source: `task_specific_params.summarization.prefix`
/// of config.json, or its `prefix`, as transformers' summarization pipeline takes it.
pub(crate) fn source_prefix(config: &Map<String, Value>) -> Result<Option<String>> {
    let task = || {
        config
            .get("task_specific_params")?
            .get("summarization")?
            .get("prefix")
    };
    let own = || config.get("prefix");
    let places = [
        ("task_specific_params.summarization.prefix", task()),
        ("prefix", own()),
    ];
    for (field, value) in places {
        match value {
            None | Some(Value::Null) => {}
            Some(Value::String(prefix)) => {
                return Ok(Some(prefix.clone()).filter(|prefix| !prefix.is_empty()));
            }
            Some(other) => {
                return Err(Error::Config {
                    file: "config.json".into(),
                    field: field.into(),
                    problem: format!("is {other}, but must be a text"),
                });
            }
        }
    }
    Ok(None)
}

/// The tokenizer of a bundle or checkpoint folder, weights or not, or a `tokenizer.json` itself.
///
/// # Errors
///
/// There is none, or one that cannot be read.
pub(crate) fn open(path: &Path) -> Result<Tokenizer> {
    if !path.is_dir() {
        let bytes = fs::read(path).map_err(|source| Error::io(path, source))?;
        return from_json(bytes);
    }
    let config = path.join("config.json");
    let config = match fs::read(&config) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::Json {
            file: "config.json".into(),
            problem: format!("is no JSON object: {error}"),
        })?,
        // A bundle has none, and needs none.
        Err(_) => Map::new(),
    };
    Ok(read(path, &config)?.tokenizer)
}

/// The tokenizer of the checkpoint in `folder`.
fn read(folder: &Path, config: &Map<String, Value>) -> Result<Converted> {
    let settings = Settings::read(folder)?;
    let (mut tokenizer, surplus, tidying) = if folder.join(TOKENIZER).is_file() {
        let tokenizer = read_json(folder)?;
        let tidying = match tokenizer.get_model() {
            ModelWrapper::BPE(_) => Tidying::Never,
            _ => Tidying::Asked,
        };
        (tokenizer, None, tidying)
    } else {
        let class = class(folder, config, &settings)?;
        let blueprint = (class.convert)(&Folder {
            path: folder,
            settings: &settings,
        })?;
        let surplus = blueprint.surplus;
        let tokenizer = blueprint.build(class.files[0], &settings)?;
        (tokenizer, surplus, class.tidying)
    };
    if tidying.applies(&settings)? {
        let decoder = blueprint::tidy(json!(tokenizer.get_decoder()));
        let decoder: DecoderWrapper =
            serde_json::from_value(decoder).map_err(|error| unusable(TOKENIZER, &error))?;
        tokenizer.with_decoder(Some(decoder));
    }
    Ok(Converted { tokenizer, surplus })
}

fn read_json(folder: &Path) -> Result<Tokenizer> {
    let path = folder.join(TOKENIZER);
    let bytes = fs::read(&path).map_err(|source| Error::io(&path, source))?;
    from_json(bytes)
}

fn from_json(bytes: Vec<u8>) -> Result<Tokenizer> {
    let mut tokenizer =
        Tokenizer::from_bytes(bytes).map_err(|error| unusable(TOKENIZER, &error))?;
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| unusable(TOKENIZER, &error))?;
    Ok(tokenizer)
}

/// The class to convert, all of whose files are there.
fn class(folder: &Path, config: &Map<String, Value>, settings: &Settings) -> Result<Class> {
    let found: Vec<String> = VOCABULARIES
        .into_iter()
        .filter(|name| folder.join(name).is_file())
        .map(str::to_owned)
        .collect();
    if found.is_empty() {
        return Err(Error::Json {
            file: TOKENIZER.into(),
            problem: "is missing: the checkpoint has no tokenizer".into(),
        });
    }
    let model_type = config.get("model_type").and_then(Value::as_str);
    let name = settings
        .text("tokenizer_class")
        .or_else(|| config.get("tokenizer_class")?.as_str())
        // A name that only says that there was a tokenizer.json.
        .filter(|name| !["PreTrainedTokenizerFast", "TokenizersBackend"].contains(name))
        .or_else(|| Some(arch::find(model_type?)?.tokenizer_class))
        .ok_or_else(|| Error::TokenizerClass {
            class: format!("tokenizer of a '{}'", model_type.unwrap_or_default()),
            found: found.clone(),
        })?;
    let name = name.strip_suffix("Fast").unwrap_or(name);
    let class =
        classes()
            .find(|class| class.name == name)
            .ok_or_else(|| Error::TokenizerClass {
                class: name.into(),
                found: found.clone(),
            })?;
    let missing = class
        .files
        .iter()
        .find(|file| !found.iter().any(|name| name == *file));
    match missing {
        None => Ok(class),
        Some(missing) => Err(Error::TokenizerFile {
            class: name.into(),
            missing: (*missing).into(),
            found,
        }),
    }
}

/// Refuses a tokenizer whose pieces go beyond the model's table of `vocab_size` rows. Special tokens
/// may: those that only pretraining used are left out of some tables (bart-large-cnn's `<mask>`).
fn fits(converted: &Converted, vocab_size: usize) -> Result<()> {
    let tokenizer = &converted.tokenizer;
    let known = |id: u32| converted.surplus.is_none_or(|surplus| id < surplus.from);
    let added = tokenizer.get_added_tokens_decoder();
    let beyond = tokenizer
        .get_vocab(false)
        .into_values()
        .filter(|id| *id as usize >= vocab_size && known(*id) && !added.contains_key(id))
        .count();
    if beyond == 0 {
        return Ok(());
    }
    let pieces = tokenizer.get_vocab_size(false);
    Err(Error::Json {
        file: TOKENIZER.into(),
        problem: format!(
            "has {pieces} pieces and config.json's vocab_size is {vocab_size}: they are not of one model"
        ),
    })
}

fn unusable(file: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Tokenizer {
        file: file.into(),
        problem: format!("is not a tokenizer: {error}"),
    }
}
