//! PLBART: `sentencepiece.bpe.model` in fairseq's order, and the languages it writes behind it.
//!
//! Agrees with `PLBartTokenizer` (`models/plbart/tokenization_plbart.py`) of transformers 5.23, which
//! runs SentencePiece itself; what `marian` says of combining marks holds here, too.

use std::collections::BTreeSet;

use epitome_runtime::bundle::Surplus;
use serde_json::{Map, Value, json};

use super::blueprint::{Blueprint, Frame, SpecialTokens, defaults};
use super::family::{Class, FAIRSEQ_NAMES, Folder, Tidying, unigram};
use super::native::{bpe, decoder, merges, must_be_plain, normalizer};
use super::sentencepiece::{Algorithm, SentencePieceModel};
use super::settings::{TOKENIZER_CONFIG, special};
use crate::error::{Error, Result};

const SENTENCEPIECE: &str = "sentencepiece.bpe.model";

pub(super) const PLBART: Class = Class {
    name: "PLBartTokenizer",
    files: &[SENTENCEPIECE],
    convert,
    tidying: Tidying::UnlessRefused,
};

/// Pieces of the model (`<unk>`, `<s>`, `</s>`) that fairseq's order replaces with its own four.
const REPLACED: usize = 3;
/// The unknown token's place in that order.
const UNKNOWN: usize = 3;
const LANGUAGES: [&str; 7] = ["java", "python", "en_XX", "javascript", "php", "ruby", "go"];
/// Those of `language_codes` base.
const BASE: usize = 3;

fn convert(folder: &Folder<'_>) -> Result<Blueprint> {
    let settings = folder.settings;
    let model = SentencePieceModel::read(folder.path, SENTENCEPIECE)?;
    must_be_plain(&model, "PLBART")?;
    model.must_begin_with_special(REPLACED)?;
    let mut known = defaults(&FAIRSEQ_NAMES);
    known.push(("mask_token", special("<mask>")));
    let names = SpecialTokens::new(settings, &known)?;
    let base = match settings.text("language_codes").unwrap_or("base") {
        "base" => true,
        "multi" => false,
        other => {
            return Err(config(
                "language_codes",
                format!("is '{other}', but must be base or multi"),
            ));
        }
    };
    let languages = &LANGUAGES[..if base { BASE } else { LANGUAGES.len() }];
    let code = |language: &str| format!("__{language}__");
    let named = settings.text("src_lang").or((!base).then_some("en_XX"));
    let language = named
        .map(|named| {
            languages
                .iter()
                .find(|language| **language == named || code(language) == named)
                .map(|language| code(language))
                .ok_or_else(|| {
                    config(
                        "src_lang",
                        format!("is '{named}', which is none of this tokenizer's languages"),
                    )
                })
        })
        .transpose()?;

    let mut pieces: Vec<(String, f64)> = Vec::new();
    for name in ["bos_token", "pad_token", "eos_token", "unk_token"] {
        pieces.push((names.required(name)?.to_owned(), 0.0));
    }
    pieces.extend(model.scored(REPLACED));
    pieces.extend(languages.iter().map(|language| (code(language), 0.0)));
    if base {
        pieces.push((names.required("mask_token")?.to_owned(), 0.0));
    }
    let known = pieces.len();
    let texts: BTreeSet<String> = pieces.iter().map(|(text, _)| text.clone()).collect();
    let unk = names.required("unk_token")?;
    let eos = names.required("eos_token")?.to_owned();
    let cut = match model.algorithm {
        Algorithm::Unigram => unigram(pieces, UNKNOWN),
        Algorithm::Bpe => {
            let ids = pieces.into_iter().enumerate();
            let vocab: Map<String, Value> = ids.map(|(id, (text, _))| (text, json!(id))).collect();
            bpe(json!(vocab), unk, json!(merges(&model)?))
        }
    };
    let codes = languages.iter().map(|language| special(code(language)));
    let mut added = names.to_add(settings, codes.collect());
    for token in settings.extra_tokens().unwrap_or_default() {
        if !added.iter().any(|known| known.content == token.content) {
            added.push(token);
        }
    }
    // Without a row of its own the mask is found in text, and unknown to the model.
    let mask = names.required("mask_token")?;
    let surplus = (!base).then_some(Surplus {
        from: known as u32,
        token: UNKNOWN as u32,
    });
    if let Some(token) = added
        .iter()
        .find(|token| !base && token.content != mask && !texts.contains(&token.content))
    {
        return Err(config(
            "language_codes",
            format!(
                "is multi, where the mask has no row, and the added token '{}' would come behind it",
                token.content
            ),
        ));
    }
    Ok(Blueprint {
        normalizer: normalizer(&model),
        pre_tokenizer: Value::Null,
        model: cut,
        decoder: decoder(),
        frame: Frame::Tokens {
            before: Vec::new(),
            after: [eos].into_iter().chain(language).collect(),
        },
        added,
        surplus,
    })
}

fn config(field: &str, problem: String) -> Error {
    Error::Config {
        file: TOKENIZER_CONFIG.into(),
        field: field.into(),
        problem,
    }
}
