//! BERT: WordPiece with `vocab.txt`, also of Chinese BART, PEGASUS and T5 models.
//!
//! Agrees with `BertTokenizerFast` of transformers 4.57 and `BertTokenizer` of 5.24
//! (`models/bert`).

use serde_json::{Value, json};

use super::class::{Change, Class, CleanUpSpaces, Folder, Json};
use super::settings::Settings;
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults};
use super::vocabulary::{VOCAB_TXT, words};
use crate::error::Result;

pub(super) const BERT: Class = Class {
    names: &[
        "BertTokenizer",
        "DistilBertTokenizer",
        "ElectraTokenizer",
        "MobileBertTokenizer",
        "ConvBertTokenizer",
        "RetriBertTokenizer",
        "SqueezeBertTokenizer",
    ],
    files: &[VOCAB_TXT],
    convert,
    json: Json::Read(Change::Normalizer(normalizer)),
    clean_up_spaces: CleanUpSpaces::ByDefaultBefore5,
    end_token_once: false,
};

fn convert(folder: &Folder<'_>) -> Result<Parts> {
    let settings = folder.settings;
    let names = SpecialTokens::new(
        settings,
        &defaults(&[
            ("unk_token", "[UNK]"),
            ("sep_token", "[SEP]"),
            ("pad_token", "[PAD]"),
            ("cls_token", "[CLS]"),
            ("mask_token", "[MASK]"),
        ]),
    )?;
    let extra = settings.extra_tokens().unwrap_or_default();
    Ok(Parts {
        normalizer: normalizer(settings)?,
        pre_tokenizer: json!({"type": "BertPreTokenizer"}),
        model: json!({
            "type": "WordPiece", "unk_token": names.required("unk_token")?,
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": words(folder)?,
        }),
        decoder: json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        post_processor: PostProcessor::around(
            &[names.required("cls_token")?],
            &[names.required("sep_token")?],
        ),
        added: names.to_add(settings, Vec::new(), extra),
        surplus: None,
    })
}

/// The normalizer of these settings.
fn normalizer(settings: &Settings) -> Result<Value> {
    Ok(json!({
        "type": "BertNormalizer", "clean_text": true,
        "handle_chinese_chars": settings.flag("tokenize_chinese_chars", true)?,
        "strip_accents": settings.optional_flag("strip_accents")?,
        "lowercase": settings.flag("do_lower_case", true)?,
    }))
}
