//! mBART and mBART-50: `sentencepiece.bpe.model` (Unigram, whatever its name), in fairseq's order
//! of special tokens, followed by the languages.
//!
//! Agrees with `MBartTokenizer` and `MBart50Tokenizer` (`models/mbart/tokenization_mbart.py`,
//! `models/mbart50/tokenization_mbart50.py`) and their converters (`convert_slow_tokenizer.py`) of
//! transformers 5.23. `MBartTokenizer` leaves out the model's own normalizer, `MBart50Tokenizer`
//! applies it.

use serde_json::{Value, json};
use tokenizers::AddedToken;

use super::blueprint::{Blueprint, Frame, SpecialTokens, defaults};
use super::family::{
    Class, FAIRSEQ_NAMES, Folder, Tidying, metaspace, one_space, spaced_words, unigram,
};
use super::sentencepiece::SentencePieceModel;
use super::settings::special;
use crate::error::{Error, Result};

pub(super) const MBART: Class = Class {
    name: "MBartTokenizer",
    files: &["sentencepiece.bpe.model"],
    convert: |folder| convert(folder, false),
    tidying: Tidying::Asked,
};

pub(super) const MBART_50: Class = Class {
    name: "MBart50Tokenizer",
    files: &["sentencepiece.bpe.model"],
    convert: |folder| convert(folder, true),
    tidying: Tidying::Asked,
};

/// Pieces of the model (`<unk>`, `<s>`, `</s>`) that fairseq's order replaces with its own four.
const REPLACED: usize = 3;
/// Where fairseq's order has the unknown piece.
const UNKNOWN: usize = 3;

/// mBART's languages: the first 25 of mBART-50's.
const LANGUAGES: usize = 25;
const LANGUAGES_50: [&str; 52] = [
    "ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI", "fr_XX", "gu_IN", "hi_IN",
    "it_IT", "ja_XX", "kk_KZ", "ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO",
    "ru_RU", "si_LK", "tr_TR", "vi_VN", "zh_CN", "af_ZA", "az_AZ", "bn_IN", "fa_IR", "he_IL",
    "hr_HR", "id_ID", "ka_GE", "km_KH", "mk_MK", "ml_IN", "mn_MN", "mr_IN", "pl_PL", "ps_AF",
    "pt_XX", "sv_SE", "sw_KE", "ta_IN", "te_IN", "th_TH", "tl_XX", "uk_UA", "ur_PK", "xh_ZA",
    "gl_ES", "sl_SI",
];

fn convert(folder: &Folder<'_>, fifty: bool) -> Result<Blueprint> {
    let settings = folder.settings;
    let model = SentencePieceModel::read(folder.path, "sentencepiece.bpe.model")?;
    model.must_be_unigram(if fifty {
        "MBart50Tokenizer"
    } else {
        "MBartTokenizer"
    })?;
    model.must_begin_with_special(REPLACED)?;
    let mask = AddedToken {
        lstrip: true,
        ..special("<mask>")
    };
    let mut known = defaults(&FAIRSEQ_NAMES);
    if fifty {
        // The class has no beginning of its own.
        known.retain(|(name, _)| *name != "bos_token");
    }
    known.push(("mask_token", mask));
    let names = SpecialTokens::new(settings, &known)?;
    let languages = &LANGUAGES_50[..if fifty { LANGUAGES_50.len() } else { LANGUAGES }];
    let language = settings.text("src_lang").unwrap_or("en_XX");
    if !languages.contains(&language) {
        return Err(Error::Config {
            file: super::settings::TOKENIZER_CONFIG.into(),
            field: "src_lang".into(),
            problem: format!("is '{language}', which is none of this tokenizer's languages"),
        });
    }

    let first = if fifty { "cls_token" } else { "bos_token" };
    let mut vocab = Vec::new();
    for name in [first, "pad_token", "eos_token", "unk_token"] {
        vocab.push((names.required(name)?.to_owned(), 0.0));
    }
    vocab.extend(model.scored(REPLACED));
    vocab.extend(
        languages
            .iter()
            .map(|language| ((*language).to_owned(), 0.0)),
    );
    vocab.push((names.required("mask_token")?.to_owned(), 0.0));

    let codes = languages.iter().copied().map(special);
    let extra = settings.extra_tokens().unwrap_or_else(|| match fifty {
        true => model.added_pieces().chain(codes).collect(),
        false => codes.chain(model.added_pieces()).collect(),
    });
    let eos = names.required("eos_token")?;
    let (normalizer, pre_tokenizer, frame) = if fifty {
        let normalizers: Vec<Value> = model.charsmap().into_iter().chain([one_space()]).collect();
        let frame = Frame::Tokens {
            before: vec![language.into()],
            after: vec![eos.into()],
        };
        (
            json!({"type": "Sequence", "normalizers": normalizers}),
            metaspace(),
            frame,
        )
    } else {
        (Value::Null, spaced_words(), Frame::after(&[eos, language]))
    };
    Ok(Blueprint {
        normalizer,
        pre_tokenizer,
        model: unigram(vocab, UNKNOWN),
        decoder: metaspace(),
        frame,
        added: names.to_add(settings, extra),
        surplus: None,
    })
}
