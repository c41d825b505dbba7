//! mBART and mBART-50: `sentencepiece.bpe.model` (Unigram, despite its name), in fairseq's order of
//! special tokens, followed by the languages.
//!
//! Agrees with `MBartTokenizerFast` and `MBart50TokenizerFast` of transformers 4.57, with
//! `MBartTokenizer` and `MBart50Tokenizer` of 5.24 (`models/mbart`, `models/mbart50`), and with
//! their converters (`convert_slow_tokenizer.py`). `MBartTokenizer` of 5.24 leaves out the model's
//! normalizer, which 4.57 applies.

use serde_json::Value;
use tokenizers::AddedToken;

use super::class::{
    Change, Class, CleanUpSpaces, FAIRSEQ_NAMES, Folder, Json, metaspace, one_space,
    sentencepiece_before_5, sequence, spaced_words,
};
use super::settings::{Settings, TOKENIZER_CONFIG, special};
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults, mask};
use super::vocabulary::Pieces;
use crate::error::{Error, Result};
use crate::version::Version;

const FILE: &str = "sentencepiece.bpe.model";

pub(super) const MBART: Class = Class {
    names: &["MBartTokenizer"],
    files: &[FILE],
    convert: |folder| convert(folder, false),
    json: Json::Read(Change::PostProcessor(|settings| post_processor(settings, false))),
    clean_up_spaces: CleanUpSpaces::IfSet,
    end_token_once: false,
};

pub(super) const MBART_50: Class = Class {
    names: &["MBart50Tokenizer"],
    convert: |folder| convert(folder, true),
    json: Json::Read(Change::PostProcessor(|settings| post_processor(settings, true))),
    ..MBART
};

/// Number of the model's pieces (`<unk>`, `<s>`, `</s>`) that fairseq's four special tokens
/// replace.
const REPLACED: usize = 3;
/// Id of the unknown piece in fairseq's order.
const UNKNOWN: usize = 3;

/// Number of mBART's languages, the first of mBART-50's.
const LANGUAGES: usize = 25;
const LANGUAGES_50: [&str; 52] = [
    "ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI", "fr_XX", "gu_IN", "hi_IN",
    "it_IT", "ja_XX", "kk_KZ", "ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO",
    "ru_RU", "si_LK", "tr_TR", "vi_VN", "zh_CN", "af_ZA", "az_AZ", "bn_IN", "fa_IR", "he_IL",
    "hr_HR", "id_ID", "ka_GE", "km_KH", "mk_MK", "ml_IN", "mn_MN", "mr_IN", "pl_PL", "ps_AF",
    "pt_XX", "sv_SE", "sw_KE", "ta_IN", "te_IN", "th_TH", "tl_XX", "uk_UA", "ur_PK", "xh_ZA",
    "gl_ES", "sl_SI",
];

fn convert(folder: &Folder<'_>, fifty: bool) -> Result<Parts> {
    let settings = folder.settings;
    let version = folder.version();
    let names = names(settings, fifty)?;
    let languages = &LANGUAGES_50[..if fifty { LANGUAGES_50.len() } else { LANGUAGES }];
    let language = language(settings);
    let pieces = Pieces::read(folder, FILE, |model| {
        model.must_begin_with_special(REPLACED)?;
        let first = if fifty { "cls_token" } else { "bos_token" };
        let mut vocab = Vec::new();
        for name in [first, "pad_token", "eos_token", "unk_token"] {
            vocab.push((names.required(name)?.to_owned(), 0.0));
        }
        vocab.extend(model.scored(REPLACED));
        vocab.extend(languages.iter().map(|language| ((*language).to_owned(), 0.0)));
        vocab.push((names.required("mask_token")?.to_owned(), 0.0));
        Ok(vocab)
    })?;

    let codes = || languages.iter().copied().map(special);
    let extra: Vec<AddedToken> = match (version, settings.extra_tokens()) {
        (Version::V4, extra) if fifty => extra.into_iter().flatten().chain(codes()).collect(),
        (Version::V4, extra) => codes().chain(extra.into_iter().flatten()).collect(),
        (Version::V5, Some(extra)) => extra,
        (Version::V5, None) if fifty => pieces.added.iter().cloned().chain(codes()).collect(),
        (Version::V5, None) => codes().chain(pieces.added.iter().cloned()).collect(),
    };
    let known = pieces.list.iter().any(|(piece, _)| piece == language);
    if !known && !extra.iter().any(|token| token.content == language) {
        return Err(Error::Config {
            file: TOKENIZER_CONFIG.into(),
            field: "src_lang".into(),
            problem: format!("is '{language}', which is none of this tokenizer's languages"),
        });
    }
    let charsmap = pieces.charsmap.clone();
    let (normalizer, pre_tokenizer) = match (version, fifty) {
        (Version::V4, _) => (sentencepiece_before_5(charsmap), metaspace("always")),
        (Version::V5, false) => (Value::Null, spaced_words("always")),
        (Version::V5, true) => {
            let steps = charsmap.into_iter().chain([one_space()]);
            (sequence(steps.collect()), metaspace("always"))
        }
    };
    Ok(Parts {
        normalizer,
        pre_tokenizer,
        model: pieces.model(version, UNKNOWN)?,
        decoder: metaspace("always"),
        post_processor: post_processor(settings, fifty)?,
        added: names.to_add(settings, pieces.added, extra),
        surplus: None,
    })
}

fn names(settings: &Settings, fifty: bool) -> Result<SpecialTokens> {
    let mut known = defaults(&FAIRSEQ_NAMES);
    if fifty {
        // The class has no begin token of its own.
        known.retain(|(name, _)| *name != "bos_token");
    }
    known.push(mask("<mask>", fifty && settings.version == Version::V4));
    SpecialTokens::new(settings, &known)
}

fn language(settings: &Settings) -> &str {
    settings.text("src_lang").unwrap_or("en_XX")
}

/// mBART-50 has the language before the text and the end token behind it, mBART both behind it.
fn post_processor(settings: &Settings, fifty: bool) -> Result<PostProcessor> {
    let names = names(settings, fifty)?;
    let eos = names.required("eos_token")?;
    let language = language(settings);
    Ok(match fifty {
        true => PostProcessor::around(&[language], &[eos]),
        false => PostProcessor::after(&[eos, language]),
    })
}
