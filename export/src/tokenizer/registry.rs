//! Chooses the class of a checkpoint's tokenizer, as transformers' `AutoTokenizer` does
//! (`models/auto/tokenization_auto.py`).

use std::path::Path;

use serde_json::{Map, Value};

use super::class::{Class, Folder};
use super::settings::Settings;
use super::tokenizer_json::Parts;
use super::{
    albert, bartpho, bert, blenderbot_small, byt5, byte_level, fairseq, fsmt, gemma, m2m_100,
    marian, mbart, nllb, pegasus, plbart, prophetnet, t5,
};
use crate::arch;
use crate::error::{Error, Result};
use crate::version::Version;

/// Names of vocabulary files.
pub(crate) const VOCABULARIES: [&str; 13] = [
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
    "dict.txt",
    "prophetnet.tokenizer",
];

/// All classes that can be converted.
const CLASSES: [Class; 23] = [
    albert::ALBERT,
    bartpho::BARTPHO,
    bert::BERT,
    blenderbot_small::BLENDERBOT_SMALL,
    byt5::BYT5,
    byte_level::BLENDERBOT,
    byte_level::GPT2,
    byte_level::ROBERTA,
    fairseq::BARTHEZ,
    fairseq::CAMEMBERT,
    fairseq::XLM_ROBERTA,
    fsmt::FSMT,
    gemma::GEMMA,
    m2m_100::M2M_100,
    marian::MARIAN,
    mbart::MBART,
    mbart::MBART_50,
    nllb::NLLB,
    pegasus::PEGASUS,
    plbart::PLBART,
    prophetnet::PROPHETNET,
    prophetnet::XLM_PROPHETNET,
    t5::T5,
];

/// Makes the tokenizer of summaries, if it differs.
type Target = fn(&Folder<'_>) -> Result<Option<Parts>>;

/// Classes that may have a different vocabulary for summaries.
const TARGETS: [(&str, Target); 2] =
    [("FSMTTokenizer", fsmt::target), ("MarianTokenizer", marian::target)];

/// Makes the tokenizer of summaries, if the class has another for them.
pub(super) fn target(class: &Class, folder: &Folder<'_>) -> Result<Option<Parts>> {
    match TARGETS.iter().find(|(name, _)| class.names.contains(name)) {
        Some((_, convert)) => convert(folder),
        None => Ok(None),
    }
}

/// Architectures whose `tokenizer.json` 5.24 uses unchanged, whatever class is named.
const AS_IT_IS: [&str; 3] = ["bigbird_pegasus", "pegasus_x", "umt5"];
/// Class names that only say that there is a `tokenizer.json`.
const NO_CLASS: [&str; 3] = ["PreTrainedTokenizerFast", "PreTrainedTokenizer", "TokenizersBackend"];

/// The class of the tokenizer, whose files all exist; `None` if a `tokenizer.json` is used
/// unchanged.
pub(super) fn class(
    folder: &Path,
    config: &Map<String, Value>,
    settings: &Settings,
    has_json: bool,
) -> Result<Option<Class>> {
    let model_type = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let named =
        settings.text("tokenizer_class").or_else(|| config.get("tokenizer_class")?.as_str());
    let as_it_is = match named {
        Some(name) => NO_CLASS.contains(&name),
        // 5.24 has no class for it.
        None => settings.version == Version::V5 && ["longt5", "t5gemma2"].contains(&model_type),
    };
    let whatever_class = settings.version == Version::V5 && AS_IT_IS.contains(&model_type);
    if has_json && (as_it_is || whatever_class) {
        return Ok(None);
    }
    let by_model = || arch::tokenizer_class(config);
    let name = named.filter(|name| !NO_CLASS.contains(name)).or_else(by_model);
    let name = name.map(|name| name.strip_suffix("Fast").unwrap_or(name));
    let class =
        CLASSES.into_iter().find(|class| name.is_some_and(|name| class.names.contains(&name)));
    if has_json {
        return Ok(class);
    }
    let found: Vec<String> = VOCABULARIES
        .into_iter()
        .filter(|name| folder.join(name).is_file())
        .map(str::to_owned)
        .collect();
    if found.is_empty() && class.is_none_or(|class| !class.files.is_empty()) {
        return Err(Error::Json {
            file: "tokenizer.json".into(),
            problem: "is missing: the checkpoint has no tokenizer".into(),
        });
    }
    let Some((name, class)) = name.zip(class) else {
        return Err(Error::TokenizerClass {
            class: name.map_or_else(|| format!("tokenizer of a '{model_type}'"), str::to_owned),
            found,
        });
    };
    let missing = class.files.iter().find(|file| !found.iter().any(|name| name == *file));
    match missing {
        None => Ok(Some(class)),
        Some(missing) => {
            Err(Error::TokenizerFile { class: name.into(), missing: (*missing).into(), found })
        }
    }
}
