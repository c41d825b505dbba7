//! Converts the checkpoint's tokenizer to one `tokenizer.json`, whatever files it has.
//!
//! A model needs the tokens it was trained with, so the reference is the version of transformers
//! that wrote the checkpoint: [`Version`]. `docs/tokenizers.md` has the rule and a table of the
//! classes. Missing or contradictory data is an error that names it; nothing is guessed.

mod albert;
mod bartpho;
mod bert;
mod blenderbot_small;
mod byt5;
mod byte_level;
mod class;
mod fairseq;
mod fsmt;
mod gemma;
mod m2m_100;
mod marian;
mod mbart;
mod nllb;
#[cfg(test)]
mod normalization_tests;
mod pegasus;
mod plbart;
mod prophetnet;
mod registry;
mod sentencepiece;
mod sentencepiece_processor;
mod settings;
mod t5;
#[cfg(test)]
mod tests;
mod tokenizer_json;

mod vocabulary;

use std::fs;
use std::path::Path;

use epitome_runtime::bundle::{self, Surplus};
use epitome_runtime::tokenizer::{Pipeline, TextNormalizer, from_json, parts};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokenizers::{AddedToken, ModelWrapper, PreTokenizerWrapper};
use tokenizers::{TruncationDirection, TruncationParams};

use self::class::{Change, Class, CleanUpSpaces, Folder, Json};
pub(crate) use self::registry::VOCABULARIES;
use self::settings::Settings;
use self::tokenizer_json::{Parts, PostProcessor, SpecialTokens};

use crate::error::{Error, Result};
use crate::version::Version;

const TOKENIZER: &str = "tokenizer.json";
/// `model_max_length` of a tokenizer without a limit is a huge number (1e30). No model reads more
/// tokens than this.
const NO_LIMIT: f64 = 1e9;

/// A tokenizer, and data that the runtime needs beside it.
#[derive(Debug)]
struct Converted {
    pipeline: Pipeline,
    /// The tokenizer of summaries, if it differs.
    target: Option<Pipeline>,
    surplus: Option<Surplus>,
    /// The token of the language of the summaries, `tgt_lang`.
    target_language: Option<u32>,
    /// Whether no end token is added to a text that ends in one.
    end_token_once: bool,
    /// Whether long texts are truncated at the begin, and not at the end.
    cut_from_the_left: bool,
}

/// The manifest's record of the tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notes {
    /// Tokens that the model does not have.
    pub(crate) surplus: Option<Surplus>,
    /// The token of the language of the summaries, `tgt_lang`.
    pub(crate) target_language: Option<u32>,
    /// Whether the written file is enough for the `tokenizers` library to give the same tokens.
    pub(crate) portable: bool,
    /// Whether a tokenizer of summaries was written.
    pub(crate) target: bool,
}

/// A tokenizer file: the library's fields, and our own.
#[derive(Serialize)]
struct File<'a> {
    #[serde(flatten)]
    pipeline: &'a Pipeline,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    split_special_tokens: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    end_token_once: bool,
}

/// Folders of a checkpoint's tokenizers, and the model's vocabulary sizes.
pub(crate) struct Tokenizers<'a> {
    /// The folder of the tokenizer.
    pub(crate) source: &'a Path,
    /// Vocabulary size of sources.
    pub(crate) source_size: usize,
    /// The folder of another tokenizer for summaries.
    pub(crate) target: Option<&'a Path>,
    /// Vocabulary size of summaries.
    pub(crate) target_size: usize,
}

/// Writes the tokenizer of a checkpoint, whose config.json is `config`, into the folder `to`, and
/// the tokenizer of summaries if that differs.
///
/// # Errors
///
/// The checkpoint has no tokenizer, or it cannot be read, or has more pieces than the model.
pub(crate) fn convert(
    from: &Tokenizers<'_>,
    config: &Map<String, Value>,
    to: &Path,
) -> Result<Notes> {
    let mut converted = read(from.source, config)?;
    fits(&converted, from.source_size)?;
    let target = match from.target {
        Some(folder) => {
            let target = read(folder, &of_decoder(config))?;
            fits(&target, from.target_size)?;
            Some(target.pipeline)
        }
        None => converted.target.take(),
    };
    if converted.cut_from_the_left {
        // Only the side of the truncation is stored. The model determines the length.
        let left = TruncationParams { direction: TruncationDirection::Left, ..Default::default() };
        let pipeline = &mut converted.pipeline;
        pipeline.with_truncation(Some(left)).map_err(|error| unusable(&error))?;
    }
    let file = File {
        pipeline: &converted.pipeline,
        split_special_tokens: converted.pipeline.get_encode_special_tokens(),
        end_token_once: converted.end_token_once,
    };
    file.write(&to.join(bundle::TOKENIZER))?;
    if let Some(target) = &target {
        let file = File { pipeline: target, split_special_tokens: false, end_token_once: false };
        file.write(&to.join(bundle::TARGET_TOKENIZER))?;
    }
    let normalizer = converted.pipeline.get_normalizer();
    let own_normalizer = normalizer.is_some_and(|of| !matches!(of, TextNormalizer::Library(_)));
    Ok(Notes {
        surplus: converted.surplus,
        target_language: converted.target_language,
        portable: converted.surplus.is_none()
            && !own_normalizer
            && !file.end_token_once
            && target.is_none(),
        target: target.is_some(),
    })
}

impl File<'_> {
    fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|error| unusable(&error))?;
        fs::write(path, text).map_err(|source| Error::io(path, source))
    }
}

/// The configuration of the decoder in config.json, for the decoder's tokenizer.
fn of_decoder(config: &Map<String, Value>) -> Map<String, Value> {
    let decoder = config.get("decoder").and_then(Value::as_object);
    let mut fields = decoder.cloned().unwrap_or_default();
    let version = "transformers_version";
    if let Some(value) = config.get(version) {
        fields.insert(version.into(), value.clone());
    }
    fields
}

/// The token of `tgt_lang`: the language itself (mBART, NLLB) or `__language__` (M2M-100).
fn target_language(settings: &Settings, pipeline: &Pipeline) -> Option<u32> {
    let language = settings.text("tgt_lang")?;
    let added = pipeline.get_added_vocabulary().get_vocab();
    let names = [language.to_owned(), format!("__{language}__")];
    names.iter().find_map(|name| added.get(name).copied())
}

/// Maximum number of tokens of a source: `model_max_length` of the tokenizer's configuration,
/// within the `positions` of the model.
pub(crate) fn max_source_tokens(from: &Path, positions: usize) -> Result<usize> {
    let limit = Settings::read(from, Version::V5, None)?
        .model_max_length()
        .filter(|limit| (2.0..NO_LIMIT).contains(limit));
    Ok(limit.map_or(positions, |limit| positions.min(limit as usize)))
}

/// The text before every source: `task_specific_params.summarization.prefix` of config.json, or its
/// `prefix`, as in transformers' summarization pipeline.
pub(crate) fn source_prefix(config: &Map<String, Value>) -> Result<Option<String>> {
    let task = || config.get("task_specific_params")?.get("summarization")?.get("prefix");
    let own = || config.get("prefix");
    let locations = [("task_specific_params.summarization.prefix", task()), ("prefix", own())];
    for (field, value) in locations {
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

/// Reads the tokenizer of a bundle or checkpoint folder, which need not have weights, or a
/// `tokenizer.json`.
///
/// # Errors
///
/// The tokenizer is missing, or cannot be read.
pub(crate) fn open(path: &Path) -> Result<Pipeline> {
    if !path.is_dir() {
        return read_json(path);
    }
    let config = path.join("config.json");
    let config = match fs::read(&config) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::Json {
            file: "config.json".into(),
            problem: format!("is not a JSON object: {error}"),
        })?,
        // A bundle has no config.json, and its tokenizer.json is used unchanged.
        Err(_) => return read_json(&path.join(TOKENIZER)),
    };
    Ok(read(path, &config)?.pipeline)
}

/// Reads the tokenizer of the checkpoint in `folder`.
fn read(folder: &Path, config: &Map<String, Value>) -> Result<Converted> {
    let version = Version::of(config);
    let json = settings::object(folder, TOKENIZER)?.map(Value::Object);
    let settings = Settings::read(folder, version, json.as_ref())?;
    let class = registry::class(folder, config, &settings, json.is_some())?;
    let own = class.filter(|class| match (class.json, &json) {
        (_, None) => true,
        (Json::Ignored, Some(_)) => class.files.iter().all(|file| folder.join(file).is_file()),
        (Json::Read(_), Some(_)) => version == Version::V5,
    });
    let end_token_once = own.is_some_and(|class| class.end_token_once);
    let mut target = None;
    let (mut pipeline, surplus) = match own {
        Some(class) => {
            let folder = Folder {
                path: folder,
                settings: &settings,
                json: json.as_ref().filter(|_| matches!(class.json, Json::Read(_))),
            };
            let parts = (class.convert)(&folder)?;
            let surplus = parts.surplus;
            if let Some(parts) = registry::target(&class, &folder)? {
                target = Some(build(parts, &class, &settings)?);
            }
            (build(parts, &class, &settings)?, surplus)
        }
        None => {
            let mut pipeline = read_json(&folder.join(TOKENIZER))?;
            apply(&settings, class, &mut pipeline)?;
            (pipeline, None)
        }
    };
    for pipeline in [&mut pipeline].into_iter().chain(&mut target) {
        let by_model = match pipeline.get_model() {
            ModelWrapper::BPE(_) => CleanUpSpaces::IfSetBefore5,
            _ => CleanUpSpaces::IfSet,
        };
        if own.map_or(by_model, |class| class.clean_up_spaces).applies(&settings)? {
            let decoder = tokenizer_json::clean_up_spaces(json!(pipeline.get_decoder()));
            let decoder = parts::decoder(decoder).map_err(|problem| unusable(&problem))?;
            pipeline.with_decoder(decoder);
        }
    }
    pipeline.set_encode_special_tokens(settings.is_set("split_special_tokens"));
    Ok(Converted {
        target_language: target_language(&settings, &pipeline),
        pipeline,
        target,
        surplus,
        end_token_once,
        cut_from_the_left: settings.text("truncation_side") == Some("left"),
    })
}

/// Makes a tokenizer of these parts.
fn build(mut parts: Parts, class: &Class, settings: &Settings) -> Result<Pipeline> {
    if matches!(class.json, Json::Ignored) {
        // Python finds added tokens before the text is normalized.
        parts.added.iter_mut().for_each(|token| token.normalized = false);
    }
    let file = class.files.first().copied().unwrap_or(settings::TOKENIZER_CONFIG);
    parts.build(file, settings)
}

/// Applies the settings to a `tokenizer.json`, as `PreTrainedTokenizerFast.__init__` of
/// transformers 4.57 (`tokenization_utils_fast.py`) does, or `TokenizersBackend.__init__` of 5.24
/// (`tokenization_utils_tokenizers.py`) for tokenizers without a class of their own.
fn apply(settings: &Settings, class: Option<Class>, pipeline: &mut Pipeline) -> Result<()> {
    let names = SpecialTokens::new(settings, &[])?;
    let known = pipeline.get_added_tokens_decoder();
    let mut known: Vec<(u32, AddedToken)> = known.into_iter().collect();
    known.sort_by_key(|(id, _)| *id);
    let known: Vec<AddedToken> = known.into_iter().map(|(_, token)| token).collect();
    let extra = settings.extra_tokens().unwrap_or_default();
    let added = names.to_add(settings, known, extra);
    pipeline.add_tokens(added).map_err(|error| unusable(&error))?;
    if settings.version == Version::V5 {
        if !["add_bos_token", "add_eos_token"].iter().any(|flag| settings.has(flag)) {
            return Ok(());
        }
        return PostProcessor::of_json(None, &names, settings)
            .put_into(pipeline)
            .map_err(|problem| unusable(&problem));
    }
    match class.map(|class| class.json) {
        Some(Json::Read(Change::Normalizer(normalizer))) => {
            let normalizer = normalizer(settings)?;
            if json!(pipeline.get_normalizer())["type"] == normalizer["type"] {
                let normalizer =
                    parts::normalizer(normalizer).map_err(|problem| unusable(&problem))?;
                pipeline.with_normalizer(normalizer).map_err(|error| unusable(&error))?;
            }
        }
        Some(Json::Read(Change::PostProcessor(post_processor))) => {
            post_processor(settings)?.put_into(pipeline).map_err(|problem| unusable(&problem))?;
        }
        _ => {}
    }
    if let Some(PreTokenizerWrapper::ByteLevel(bytes)) = pipeline.get_pre_tokenizer().cloned() {
        let add_prefix_space = settings.is_set("add_prefix_space");
        let bytes = bytes.add_prefix_space(add_prefix_space);
        pipeline.with_pre_tokenizer(Some(bytes));
    }
    Ok(())
}

fn read_json(path: &Path) -> Result<Pipeline> {
    let text = fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    let (pipeline, _) = from_json(&text).map_err(|problem| unusable(&problem))?;
    Ok(pipeline)
}

/// Fails if a tokenizer has pieces beyond the model's table of `vocab_size` rows. Special tokens
/// may be beyond it, since some tables lack those of pretraining (`<mask>` of bart-large-cnn).
fn fits(converted: &Converted, vocab_size: usize) -> Result<()> {
    let tokenizer = &converted.pipeline;
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
            "has {pieces} pieces and config.json's vocab_size is {vocab_size}: they are not of one \
             model"
        ),
    })
}

fn unusable(error: &dyn std::fmt::Display) -> Error {
    Error::Tokenizer { file: TOKENIZER.into(), problem: format!("is not a tokenizer: {error}") }
}
