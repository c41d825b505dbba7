//! FSMT: BPE on Moses' words, `vocab-src.json`, `vocab-tgt.json` and `merges.txt`.
//!
//! Agrees with `FSMTTokenizer` (`models/fsmt/tokenization_fsmt.py`) of transformers 4.57 and 5.24.
//! The runtime has the rules of Moses, which separate words from punctuation
//! (`runtime/src/tokenizer/moses`). Summaries have a vocabulary of their own. Symbols that occur
//! only within merges have no id, and become the unknown token.

use epitome_runtime::tokenizer::{Language, MosesDecoder, MosesNormalizer};
use serde_json::{Value, json};

use super::class::{Class, CleanUpSpaces, Folder, Json};
use super::settings::{Settings, TOKENIZER_CONFIG};
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults};
use super::vocabulary::{MERGES, add_symbols_of_merges, merges, vocabulary};
use crate::error::{Error, Result};

const SOURCE: &str = "vocab-src.json";
const TARGET: &str = "vocab-tgt.json";

pub(super) const FSMT: Class = Class {
    names: &["FSMTTokenizer"],
    files: &[SOURCE, TARGET, MERGES],
    convert: |folder| parts(folder, SOURCE),
    json: Json::Ignored,
    clean_up_spaces: CleanUpSpaces::IfSet,
    end_token_once: false,
};

/// The tokenizer of summaries.
pub(super) fn target(folder: &Folder<'_>) -> Result<Option<Parts>> {
    parts(folder, TARGET).map(Some)
}

fn parts(folder: &Folder<'_>, file: &str) -> Result<Parts> {
    let settings = folder.settings;
    let [source, target] = languages(settings)?;
    let names = SpecialTokens::new(
        settings,
        &defaults(&[
            ("bos_token", "<s>"),
            ("sep_token", "</s>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
        ]),
    )?;
    let added = names.to_add(settings, Vec::new(), settings.extra_tokens().unwrap_or_default());
    let mut vocab = vocabulary(folder.path, file)?;
    let merges = merges(folder.path)?;
    let unk = names.required("unk_token")?;
    let unknown = vocab.get(unk).and_then(Value::as_u64).ok_or_else(|| Error::Tokenizer {
        file: file.into(),
        problem: format!("lacks the unknown token '{unk}'"),
    })?;
    let from = vocab.values().filter_map(Value::as_u64).max().unwrap_or(0) + 1;
    let surplus = add_symbols_of_merges(&mut vocab, &merges, from, unknown);
    let lowercase = settings.flag("do_lower_case", false)?;
    Ok(Parts {
        normalizer: json!(MosesNormalizer { language: source, lowercase }),
        pre_tokenizer: json!({"type": "Split", "pattern": {"String": " "}, "behavior": "Removed",
                              "invert": false}),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": unk,
            "continuing_subword_prefix": null, "end_of_word_suffix": "</w>",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges,
        }),
        decoder: json!(MosesDecoder { language: target, clean_up_spaces: false }),
        post_processor: PostProcessor::after(&[names.required("sep_token")?]),
        added,
        surplus,
    })
}

/// Reads `langs`: the languages of texts and of summaries.
fn languages(settings: &Settings) -> Result<[Language; 2]> {
    let wrong = |problem: String| Error::Config {
        file: TOKENIZER_CONFIG.into(),
        field: "langs".into(),
        problem,
    };
    let Some(langs) = settings.value("langs") else {
        return Err(wrong("is missing, but must name the languages of texts and summaries".into()));
    };
    let codes: Vec<&str> =
        langs.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let languages: Vec<_> = codes.iter().filter_map(|code| Language::from_code(code)).collect();
    match <[Language; 2]>::try_from(languages) {
        Ok(languages) if codes.len() == 2 => Ok(languages),
        _ => {
            let known = Language::ALL.map(|(code, _)| code).join(", ");
            Err(wrong(format!("is {langs}, but must be two of {known}")))
        }
    }
}
