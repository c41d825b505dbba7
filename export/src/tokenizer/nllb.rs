//! NLLB: `sentencepiece.bpe.model` in fairseq's order, and languages behind it.
//!
//! Agrees with `NllbTokenizer` (`models/nllb/tokenization_nllb.py`) of transformers 5.23, which makes
//! a BPE model of the `tokenizers` library of the file, whose merges are all ways to put a piece
//! together. That class takes the languages from the settings alone: without them it would put the
//! unknown token for the language, which is refused here.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::blueprint::{Blueprint, Frame, SpecialTokens, defaults};
use super::family::{Class, FAIRSEQ_NAMES, Folder, Tidying, metaspace, one_space};
use super::native::bpe;
use super::sentencepiece::SentencePieceModel;
use super::settings::{TOKENIZER_CONFIG, special};
use crate::error::{Error, Result};

const SENTENCEPIECE: &str = "sentencepiece.bpe.model";

pub(super) const NLLB: Class = Class {
    name: "NllbTokenizer",
    files: &[SENTENCEPIECE],
    convert,
    tidying: Tidying::Never,
};

fn convert(folder: &Folder<'_>) -> Result<Blueprint> {
    let settings = folder.settings;
    let model = SentencePieceModel::read(folder.path, SENTENCEPIECE)?;
    let mut known = defaults(&FAIRSEQ_NAMES);
    let mask = tokenizers::AddedToken {
        lstrip: true,
        normalized: true,
        ..special("<mask>")
    };
    known.push(("mask_token", mask));
    let names = SpecialTokens::new(settings, &known)?;
    let extra = settings
        .extra_tokens()
        .unwrap_or_else(|| model.added_pieces().collect());
    let added = names.to_add(settings, extra);

    let mut vocab = Map::new();
    let first =
        ["bos_token", "pad_token", "eos_token", "unk_token"].map(|name| names.required(name));
    let pieces = model.pieces.iter().map(|piece| Ok(piece.text.as_str()));
    for text in first.into_iter().chain(pieces) {
        let next = json!(vocab.len());
        vocab.entry(text?).or_insert(next);
    }
    let language = settings.text("src_lang").unwrap_or("eng_Latn");
    if !vocab.contains_key(language) && !added.iter().any(|token| token.content == language) {
        return Err(Error::Config {
            file: TOKENIZER_CONFIG.into(),
            field: "src_lang".into(),
            problem: format!(
                "is '{language}', which is no token: its additional_special_tokens must list the languages"
            ),
        });
    }
    let eos = names.required("eos_token")?;
    let frame = match settings.flag("legacy_behaviour", false)? {
        true => Frame::after(&[eos, language]),
        false => Frame::Tokens {
            before: vec![language.into()],
            after: vec![eos.into()],
        },
    };
    let normalizer = model.charsmap().map_or(
        Value::Null,
        |charsmap| json!({"type": "Sequence", "normalizers": [charsmap, one_space()]}),
    );
    Ok(Blueprint {
        normalizer,
        pre_tokenizer: metaspace(),
        model: bpe(
            json!(vocab),
            names.required("unk_token")?,
            json!(merges(&model)),
        ),
        decoder: metaspace(),
        frame,
        added,
        surplus: None,
    })
}

/// Every way to put a piece together from two others, by the piece's place, then by theirs:
/// `generate_merges` of `convert_slow_tokenizer.py`.
fn merges(model: &SentencePieceModel) -> Vec<(&str, &str)> {
    let places: HashMap<&str, usize> = model
        .pieces
        .iter()
        .enumerate()
        .map(|(place, piece)| (piece.text.as_str(), place))
        .collect();
    let mut merges = Vec::new();
    for (place, piece) in model.pieces.iter().enumerate() {
        let mut ways: Vec<_> = piece
            .text
            .char_indices()
            .skip(1)
            .map(|(at, _)| piece.text.split_at(at))
            .filter_map(|way| Some(((places.get(way.0)?, places.get(way.1)?), way)))
            .collect();
        ways.sort_by_key(|(places, _)| *places);
        let length = |text: &str| text.chars().count();
        merges.extend(
            ways.into_iter()
                .map(|(_, (left, right))| ((place, length(left), length(right)), (left, right))),
        );
    }
    merges.sort_by_key(|(order, _)| *order);
    merges.into_iter().map(|(_, way)| way).collect()
}
