//! PLBART: `sentencepiece.bpe.model` in fairseq's order, followed by the languages.
//!
//! Agrees with `PLBartTokenizer` (`models/plbart/tokenization_plbart.py`) of transformers 4.57 and
//! 5.24, which runs SentencePiece itself.

use epitome_runtime::bundle::Surplus;
use serde_json::{Value, json};

use super::class::{Class, CleanUpSpaces, FAIRSEQ_NAMES, Folder, Json};
use super::sentencepiece::SentencePieceModel;
use super::sentencepiece_processor::{Ids, decoder, must_be_plain};
use super::settings::{TOKENIZER_CONFIG, special};
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults};
use crate::error::{Error, Result};
use crate::version::Version;

const SENTENCEPIECE: &str = "sentencepiece.bpe.model";

pub(super) const PLBART: Class = Class {
    names: &["PLBartTokenizer"],
    files: &[SENTENCEPIECE],
    convert,
    json: Json::Ignored,
    clean_up_spaces: CleanUpSpaces::ByDefault,
    end_token_once: false,
};

/// Number of the model's pieces (`<unk>`, `<s>`, `</s>`) that fairseq's four special tokens
/// replace.
const REPLACED: usize = 3;
/// Id of the unknown token in fairseq's order.
const UNKNOWN: usize = 3;
const LANGUAGES: [&str; 7] = ["java", "python", "en_XX", "javascript", "php", "ruby", "go"];
/// Number of languages of `language_codes` base.
const BASE: usize = 3;

fn convert(folder: &Folder<'_>) -> Result<Parts> {
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

    let mut tokens: Vec<String> = Vec::new();
    for name in ["bos_token", "pad_token", "eos_token", "unk_token"] {
        tokens.push(names.required(name)?.to_owned());
    }
    tokens.extend(model.scored(REPLACED).map(|(text, _)| text));
    tokens.extend(languages.iter().map(|language| code(language)));
    let mask = names.required("mask_token")?;
    if base {
        tokens.push(mask.to_owned());
    }
    let rows = tokens.len();
    let codes = languages.iter().map(|language| special(code(language)));
    let mut added = names.to_add(settings, Vec::new(), codes.collect());
    for token in settings.extra_tokens().unwrap_or_default() {
        if !added.iter().any(|known| known.content == token.content) {
            added.push(token);
        }
    }
    let ids = Ids::new(tokens.into_iter().zip(0..).collect(), settings, &added);
    let from = ids.end();
    let (cut, _) = ids.model(&model, from, names.required("unk_token")?)?;
    // A mask without a row is found in text, and 5.x gives it an id that the model does not have.
    let has_row = base || settings.added_tokens().values().any(|token| token.content == mask);
    let surplus = (folder.version() == Version::V5 && !has_row)
        .then_some(Surplus { from: rows as u32, token: UNKNOWN as u32 });
    let eos = names.required("eos_token")?;
    let after: Vec<&str> = [eos].into_iter().chain(language.as_deref()).collect();
    Ok(Parts {
        normalizer: json!(model.normalizer),
        pre_tokenizer: Value::Null,
        model: cut,
        decoder: decoder(folder.version(), &added),
        post_processor: PostProcessor::after(&after),
        added,
        surplus,
    })
}

fn config(field: &str, problem: String) -> Error {
    Error::Config { file: TOKENIZER_CONFIG.into(), field: field.into(), problem }
}
