//! M2M-100: text is cut by `sentencepiece.bpe.model`, `vocab.json` gives the pieces their ids, and
//! the languages follow it.
//!
//! Agrees with `M2M100Tokenizer` (`models/m2m_100/tokenization_m2m_100.py`) of transformers 5.23,
//! which runs SentencePiece itself; its vocabulary is put together as `marian` says, and the same
//! holds for combining marks. Languages are tokens wherever they stand, even where the settings do
//! not list them.

use std::collections::BTreeSet;

use epitome_runtime::bundle::Surplus;
use serde_json::{Map, Value, json};

use super::blueprint::{Blueprint, Frame, SpecialTokens, defaults};
use super::byte_level::{VOCAB, vocabulary};
use super::family::{Class, Folder, Tidying};
use super::native::{bpe, decoder, merges, must_be_plain, normal, normalizer};
use super::sentencepiece::{Algorithm, SentencePieceModel};
use super::settings::{TOKENIZER_CONFIG, special};
use crate::error::{Error, Result};

const SENTENCEPIECE: &str = "sentencepiece.bpe.model";

pub(super) const M2M_100: Class = Class {
    name: "M2M100Tokenizer",
    files: &[SENTENCEPIECE, VOCAB],
    convert,
    tidying: Tidying::Asked,
};

/// Rows of the model's table that no token has.
const UNUSED_ROWS: usize = 8;
const LANGUAGES: [&str; 100] = [
    "af", "am", "ar", "ast", "az", "ba", "be", "bg", "bn", "br", "bs", "ca", "ceb", "cs", "cy",
    "da", "de", "el", "en", "es", "et", "fa", "ff", "fi", "fr", "fy", "ga", "gd", "gl", "gu", "ha",
    "he", "hi", "hr", "ht", "hu", "hy", "id", "ig", "ilo", "is", "it", "ja", "jv", "ka", "kk",
    "km", "kn", "ko", "lb", "lg", "ln", "lo", "lt", "lv", "mg", "mk", "ml", "mn", "mr", "ms", "my",
    "ne", "nl", "no", "ns", "oc", "or", "pa", "pl", "ps", "pt", "ro", "ru", "sd", "si", "sk", "sl",
    "so", "sq", "sr", "ss", "su", "sv", "sw", "ta", "th", "tl", "tn", "tr", "uk", "ur", "uz", "vi",
    "wo", "xh", "yi", "yo", "zh", "zu",
];
/// Those of `language_codes` wmt21.
const LANGUAGES_WMT21: [&str; 8] = ["en", "ha", "is", "ja", "cs", "ru", "zh", "de"];

fn convert(folder: &Folder<'_>) -> Result<Blueprint> {
    let settings = folder.settings;
    let model = SentencePieceModel::read(folder.path, SENTENCEPIECE)?;
    must_be_plain(&model, "M2M-100")?;
    if model.algorithm != Algorithm::Bpe {
        return Err(model.wrong("is a Unigram model, and M2M100Tokenizer's are BPE"));
    }
    let languages: &[&str] = match settings.text("language_codes").unwrap_or("m2m100") {
        "m2m100" => &LANGUAGES,
        "wmt21" => &LANGUAGES_WMT21,
        other => {
            return Err(config(
                "language_codes",
                format!("is '{other}', but must be m2m100 or wmt21"),
            ));
        }
    };
    let language = settings.text("src_lang").unwrap_or("en");
    if !languages.contains(&language) {
        return Err(config(
            "src_lang",
            format!("is '{language}', which is none of this tokenizer's languages"),
        ));
    }
    let names = SpecialTokens::new(
        settings,
        &defaults(&[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
            ("sep_token", "</s>"),
            ("pad_token", "<pad>"),
        ]),
    )?;
    let code = |language: &&str| format!("__{language}__");
    let extra = languages.iter().map(code).map(special);
    let mut added = names.to_add(settings, settings.extra_tokens().unwrap_or_default());
    for token in extra {
        if !added.iter().any(|known| known.content == token.content) {
            added.push(token);
        }
    }

    let shared = vocabulary(folder.path, VOCAB)?;
    let unk = names.required("unk_token")?;
    let unknown = shared.get(unk).and_then(Value::as_u64);
    let unknown = unknown.ok_or_else(|| Error::Tokenizer {
        file: VOCAB.into(),
        problem: format!("lacks the unknown token '{unk}'"),
    })?;
    let first_language = shared.len();
    let mut vocab = Map::new();
    let pieces: BTreeSet<&str> = normal(&model).map(|(text, _)| text).collect();
    for (piece, id) in &shared {
        let visible =
            pieces.contains(piece.as_str()) || added.iter().any(|token| token.content == *piece);
        let piece = if visible {
            piece.clone()
        } else {
            format!(" {piece}")
        };
        vocab.insert(piece, id.clone());
    }
    for (place, language) in languages.iter().enumerate() {
        vocab.insert(code(language), json!(first_language + place));
    }
    let from = first_language + languages.len() + UNUSED_ROWS;
    let missing = normal(&model).filter(|(text, _)| !shared.contains_key(*text));
    let missing: Vec<&str> = missing.map(|(text, _)| text).collect();
    for (place, text) in missing.iter().enumerate() {
        vocab.insert((*text).to_owned(), json!(from + place));
    }
    Ok(Blueprint {
        normalizer: normalizer(&model),
        pre_tokenizer: Value::Null,
        model: bpe(json!(vocab), unk, json!(merges(&model)?)),
        decoder: decoder(),
        frame: Frame::Tokens {
            before: vec![code(&language)],
            after: vec![names.required("eos_token")?.to_owned()],
        },
        added,
        surplus: (!missing.is_empty()).then_some(Surplus {
            from: from as u32,
            token: unknown as u32,
        }),
    })
}

fn config(field: &str, problem: String) -> Error {
    Error::Config {
        file: TOKENIZER_CONFIG.into(),
        field: field.into(),
        problem,
    }
}
