//! M2M-100: `sentencepiece.bpe.model` splits text, `vocab.json` has the ids of the pieces, and the
//! languages follow it.
//!
//! Agrees with `M2M100Tokenizer` (`models/m2m_100/tokenization_m2m_100.py`) of transformers 4.57
//! and 5.24, which runs SentencePiece itself. Languages are tokens anywhere in the text, even if
//! the settings do not list them.

use serde_json::{Value, json};

use super::class::{Class, CleanUpSpaces, Folder, Json};
use super::sentencepiece::{Algorithm, SentencePieceModel};
use super::sentencepiece_processor::{Ids, decoder, must_be_plain};
use super::settings::{TOKENIZER_CONFIG, special};
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults};
use super::vocabulary::{VOCAB, vocabulary};
use crate::error::{Error, Result};

const SENTENCEPIECE: &str = "sentencepiece.bpe.model";

pub(super) const M2M_100: Class = Class {
    names: &["M2M100Tokenizer"],
    files: &[SENTENCEPIECE, VOCAB],
    convert,
    json: Json::Ignored,
    clean_up_spaces: CleanUpSpaces::IfSet,
    end_token_once: false,
};

/// Number of rows of the model's table without a token.
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
/// Languages of `language_codes` wmt21.
const LANGUAGES_WMT21: [&str; 8] = ["en", "ha", "is", "ja", "cs", "ru", "zh", "de"];

fn convert(folder: &Folder<'_>) -> Result<Parts> {
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
    let extra = settings.extra_tokens().unwrap_or_default();
    let mut added = names.to_add(settings, Vec::new(), extra);
    for token in languages.iter().map(code).map(special) {
        if !added.iter().any(|known| known.content == token.content) {
            added.push(token);
        }
    }

    let shared = vocabulary(folder.path, VOCAB)?;
    let unknown = names.required("unk_token")?;
    if !shared.contains_key(unknown) {
        return Err(Error::Tokenizer {
            file: VOCAB.into(),
            problem: format!("lacks the unknown token '{unknown}'"),
        });
    }
    let first_language = shared.len();
    let pieces = shared.into_iter();
    let pieces = pieces.map(|(piece, id)| (piece, id.as_u64().unwrap_or_default() as usize));
    let codes = languages.iter().map(code).zip(first_language..);
    let ids = Ids::new(pieces.chain(codes).collect(), settings, &added);
    let from = ids.end() + UNUSED_ROWS;
    let (cut, surplus) = ids.model(&model, from, unknown)?;
    Ok(Parts {
        normalizer: json!(model.normalizer),
        pre_tokenizer: Value::Null,
        model: cut,
        decoder: decoder(folder.version(), &added),
        post_processor: PostProcessor::around(&[&code(&language)], &[names.required("eos_token")?]),
        added,
        surplus,
    })
}

fn config(field: &str, problem: String) -> Error {
    Error::Config { file: TOKENIZER_CONFIG.into(), field: field.into(), problem }
}
