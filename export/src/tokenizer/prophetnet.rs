//! ProphetNet and XLM-ProphetNet: WordPiece and SentencePiece, both in `prophetnet.tokenizer`.
//!
//! Agrees with `ProphetNetTokenizer` (`models/prophetnet/tokenization_prophetnet.py`) of
//! transformers 4.57 and 5.24, and with `XLMProphetNetTokenizer`
//! (`models/deprecated/xlm_prophetnet/tokenization_xlm_prophetnet.py`) of 4.57. Both are written in
//! Python: the former is BERT's old tokenizer with only an end token, the latter runs SentencePiece
//! itself.

use serde_json::{Map, Value, json};

use super::class::{Class, CleanUpSpaces, Folder, Json, replace, sequence};
use super::sentencepiece::SentencePieceModel;
use super::sentencepiece_processor::{Ids, decoder, must_be_plain};
use super::settings::{Settings, TOKENIZER_CONFIG, special};
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults};
use super::vocabulary::words_of_lines;
use crate::error::{Error, Result};
use crate::version::Version;

const FILE: &str = "prophetnet.tokenizer";

pub(super) const PROPHETNET: Class = Class {
    names: &["ProphetNetTokenizer"],
    files: &[FILE],
    convert,
    json: Json::Ignored,
    clean_up_spaces: CleanUpSpaces::ByDefault,
    end_token_once: false,
};

pub(super) const XLM_PROPHETNET: Class = Class {
    names: &["XLMProphetNetTokenizer"],
    convert: convert_xlm,
    clean_up_spaces: CleanUpSpaces::IfSet,
    ..PROPHETNET
};

fn convert(folder: &Folder<'_>) -> Result<Parts> {
    let settings = folder.settings;
    let names = SpecialTokens::new(
        settings,
        &defaults(&[
            ("unk_token", "[UNK]"),
            ("sep_token", "[SEP]"),
            ("pad_token", "[PAD]"),
            ("mask_token", "[MASK]"),
        ]),
    )?;
    let mut extra = settings.extra_tokens().unwrap_or_default();
    // 4.x has no name for this token.
    if settings.version == Version::V5 && !settings.has("x_sep_token") {
        extra.push(special("[X_SEP]"));
    }
    let added = names.to_add(settings, Vec::new(), extra);
    let vocab: Map<String, Value> = words_of_lines(folder.path, FILE, |line| line)?;
    Ok(Parts {
        normalizer: normalizer(settings)?,
        pre_tokenizer: json!({"type": "BertPreTokenizer"}),
        model: json!({
            "type": "WordPiece", "unk_token": names.required("unk_token")?,
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab,
        }),
        decoder: json!({"type": "WordPiece", "prefix": "##", "cleanup": false}),
        post_processor: PostProcessor::after(&[names.required("sep_token")?]),
        added,
        surplus: None,
    })
}

/// `BasicTokenizer`, without the split at punctuation.
fn normalizer(settings: &Settings) -> Result<Value> {
    let basic = "do_basic_tokenize";
    if !settings.flag(basic, true)? {
        return Err(Error::Config {
            file: TOKENIZER_CONFIG.into(),
            field: basic.into(),
            problem: "is false, which is not supported".into(),
        });
    }
    let lowercase = settings.flag("do_lower_case", true)?;
    let strip_accents = settings.optional_flag("strip_accents")?.unwrap_or(lowercase);
    let mut steps = vec![
        replace(json!({"Regex": r"(?![\t\n\r])[\p{C}\x{fffd}]"}), ""),
        replace(json!({"Regex": r"[\t\n\r\p{Zs}]"}), " "),
        json!({"type": "NFC"}),
    ];
    if lowercase {
        // Python lowercases a final sigma to `ς`.
        steps.push(replace(json!({"Regex": r"(?<=\p{L})Σ(?!\p{L})"}), "ς"));
    }
    steps.push(json!({
        "type": "BertNormalizer", "clean_text": false,
        "handle_chinese_chars": settings.flag("tokenize_chinese_chars", true)?,
        "strip_accents": strip_accents, "lowercase": lowercase,
    }));
    Ok(sequence(steps))
}

/// Tokens before the pieces.
const FIRST: [&str; 4] = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"];
/// Number of pieces (`<unk>`, `<s>`, `</s>`) without a row of their own.
const REPLACED: usize = 3;

fn convert_xlm(folder: &Folder<'_>) -> Result<Parts> {
    let settings = folder.settings;
    let model = SentencePieceModel::read(folder.path, FILE)?;
    must_be_plain(&model, "XLM-ProphetNet")?;
    model.must_begin_with_special(REPLACED)?;
    let names = SpecialTokens::new(
        settings,
        &defaults(&[
            ("bos_token", "[SEP]"),
            ("eos_token", "[SEP]"),
            ("sep_token", "[SEP]"),
            ("unk_token", "[UNK]"),
            ("pad_token", "[PAD]"),
            ("cls_token", "[CLS]"),
            ("mask_token", "[MASK]"),
        ]),
    )?;
    let added = names.to_add(settings, Vec::new(), settings.extra_tokens().unwrap_or_default());
    let mut tokens: Vec<String> = FIRST.map(str::to_owned).into();
    tokens.push("[MASK]".into());
    tokens.extend((0..10).map(|number| format!("[unused{number}]")));
    tokens.extend(model.scored(REPLACED).map(|(text, _)| text));
    let ids = Ids::new(tokens.into_iter().zip(0..).collect(), settings, &added);
    let from = ids.end();
    let (cut, surplus) = ids.model(&model, from, names.required("unk_token")?)?;
    Ok(Parts {
        normalizer: json!(model.normalizer),
        pre_tokenizer: Value::Null,
        model: cut,
        decoder: decoder(folder.version(), &added),
        post_processor: PostProcessor::after(&[names.required("sep_token")?]),
        added,
        surplus,
    })
}
