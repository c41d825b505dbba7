//! NLLB: `sentencepiece.bpe.model` in fairseq's order, followed by the languages.
//!
//! Agrees with `NllbTokenizerFast` of transformers 4.57 and `NllbTokenizer` of 5.24
//! (`models/nllb`), and with `NllbConverter` (`convert_slow_tokenizer.py`) of both. Both make a BPE
//! model of the `tokenizers` library, whose merges are all pairs of pieces that form a piece. 5.24
//! reads the languages from the settings only. Without them it would use the unknown token for the
//! language, which is an error here.

use serde_json::{Map, Value, json};

use super::class::{
    Change, Class, CleanUpSpaces, FAIRSEQ_NAMES, Folder, Json, metaspace, one_space,
    sentencepiece_before_5, sequence,
};
use super::sentencepiece::SentencePieceModel;
use super::settings::{Settings, TOKENIZER_CONFIG, special};
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults, mask};
use super::vocabulary::{Pieces, bpe_model, byte_pairs, ids, pairs};
use crate::error::{Error, Result};
use crate::version::Version;

const FILE: &str = "sentencepiece.bpe.model";

pub(super) const NLLB: Class = Class {
    names: &["NllbTokenizer"],
    files: &[FILE],
    convert,
    json: Json::Read(Change::PostProcessor(post_processor)),
    clean_up_spaces: CleanUpSpaces::IfSetBefore5,
    end_token_once: false,
};

/// Number of the model's pieces (`<unk>`, `<s>`, `</s>`) that fairseq's four special tokens
/// replace.
const REPLACED: usize = 3;
/// Id of the unknown piece in fairseq's order.
const UNKNOWN: usize = 3;
/// The languages of NLLB-200, in their order.
const LANGUAGES: &str = include_str!("nllb_languages.txt");

fn convert(folder: &Folder<'_>) -> Result<Parts> {
    let settings = folder.settings;
    let names = names(settings)?;
    let first =
        ["bos_token", "pad_token", "eos_token", "unk_token"].map(|name| names.required(name));
    let first = first.into_iter().collect::<Result<Vec<_>>>()?;
    let (model, normalizer, own) = match folder.version() {
        Version::V4 => {
            let pieces = Pieces::read(folder, FILE, |model| {
                model.must_begin_with_special(REPLACED)?;
                let first = first.iter().map(|text| ((*text).to_owned(), 0.0));
                Ok(first.chain(model.scored(REPLACED)).collect())
            })?;
            let normalizer = sentencepiece_before_5(pieces.charsmap.clone());
            (pieces.model(Version::V4, UNKNOWN)?, normalizer, pieces.added)
        }
        Version::V5 => {
            let (vocab, merges, charsmap, own) = bpe_of_5(folder, &first)?;
            let normalizer =
                charsmap.map_or(Value::Null, |charsmap| sequence(vec![charsmap, one_space()]));
            (bpe_model(vocab, first[UNKNOWN], merges), normalizer, own)
        }
    };
    let extra = settings.extra_tokens().unwrap_or_else(|| match folder.version() {
        Version::V4 => LANGUAGES.split_whitespace().map(special).collect(),
        Version::V5 => own.clone(),
    });
    let added = names.to_add(settings, own, extra);
    let language = language(settings);
    let known = !model["vocab"][language].is_null();
    if !known && !added.iter().any(|token| token.content == language) {
        return Err(Error::Config {
            file: TOKENIZER_CONFIG.into(),
            field: "src_lang".into(),
            problem: format!(
                "is '{language}', which is not a token: its additional_special_tokens must list \
                 the languages"
            ),
        });
    }
    Ok(Parts {
        normalizer,
        pre_tokenizer: metaspace("always"),
        model,
        decoder: metaspace("always"),
        post_processor: post_processor(settings)?,
        added,
        surplus: None,
    })
}

fn names(settings: &Settings) -> Result<SpecialTokens> {
    let mut known = defaults(&FAIRSEQ_NAMES);
    known.push(mask("<mask>", true));
    SpecialTokens::new(settings, &known)
}

fn language(settings: &Settings) -> &str {
    settings.text("src_lang").unwrap_or("eng_Latn")
}

/// The language before the text and the end token behind it, or both behind it.
fn post_processor(settings: &Settings) -> Result<PostProcessor> {
    let names = names(settings)?;
    let eos = names.required("eos_token")?;
    let language = language(settings);
    Ok(match settings.flag("legacy_behaviour", false)? {
        true => PostProcessor::after(&[eos, language]),
        false => PostProcessor::around(&[language], &[eos]),
    })
}

type Bpe = (Value, Value, Option<Value>, Vec<tokenizers::AddedToken>);

/// Vocabulary and merges of 5.x, the normalizer's table, and the pieces that are added tokens.
fn bpe_of_5(folder: &Folder<'_>, first: &[&str]) -> Result<Bpe> {
    if let Some(json) = folder.json {
        let (vocab, merges) = byte_pairs(folder)?;
        return Ok((vocab, merges, super::vocabulary::charsmap(json), Vec::new()));
    }
    let model = SentencePieceModel::read(folder.path, FILE)?;
    let mut vocab = Map::new();
    let pieces = model.pieces.iter().map(|piece| piece.text.as_str());
    for text in first.iter().copied().chain(pieces) {
        let next = json!(vocab.len());
        vocab.entry(text).or_insert(next);
    }
    let merges = json!(merges(&model));
    Ok((json!(vocab), merges, model.charsmap(), model.added_pieces().collect()))
}

/// All pairs of pieces that form a piece, ordered by the id of that piece, then by theirs:
/// `generate_merges` of `tokenization_utils_base.py`.
fn merges(model: &SentencePieceModel) -> Vec<(&str, &str)> {
    let ids = ids(model.pieces.iter().map(|piece| piece.text.as_str()));
    let length = |text: &str| text.chars().count();
    let mut merges: Vec<_> = model
        .pieces
        .iter()
        .enumerate()
        .flat_map(|(id, piece)| pairs(&piece.text, &ids).map(move |pair| (id, pair)))
        .collect();
    merges.sort_by_key(|(id, (left, right))| (*id, length(left), length(right)));
    merges.into_iter().map(|(_, way)| way).collect()
}
