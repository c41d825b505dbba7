//! Marian: `source.spm` splits text, and `vocab.json` has the ids of the pieces of both languages.
//!
//! Agrees with `MarianTokenizer` (`models/marian/tokenization_marian.py`) of transformers 4.57 and
//! 5.24, which runs SentencePiece itself. One `tokenizer.json` is enough, because only the split of
//! `source.spm` and the ids of `vocab.json` matter: `target.spm` splits training targets only. With
//! `separate_vocabs` summaries have a tokenizer of their own, made of `target.spm` and
//! `target_vocab.json`.

use std::collections::BTreeSet;

use epitome_runtime::tokenizer::{CODE_MARK, LanguageCodes};
use serde_json::{Value, json};

use super::class::{Class, CleanUpSpaces, Folder, Json};
use super::sentencepiece::{Algorithm, Kind, SentencePieceModel};
use super::sentencepiece_processor::{Ids, decoder};
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults};
use super::vocabulary::{VOCAB, vocabulary};
use crate::error::{Error, Result};

const SOURCE: &str = "source.spm";
const TARGET: &str = "target.spm";
const TARGET_VOCAB: &str = "target_vocab.json";

pub(super) const MARIAN: Class = Class {
    names: &["MarianTokenizer"],
    files: &[SOURCE, TARGET, VOCAB],
    convert,
    json: Json::Ignored,
    clean_up_spaces: CleanUpSpaces::IfSet,
    end_token_once: false,
};

fn convert(folder: &Folder<'_>) -> Result<Parts> {
    parts(folder, SOURCE, VOCAB)
}

/// The tokenizer of summaries, with `separate_vocabs`.
pub(super) fn target(folder: &Folder<'_>) -> Result<Option<Parts>> {
    match folder.settings.flag("separate_vocabs", false)? {
        true => parts(folder, TARGET, TARGET_VOCAB).map(Some),
        false => Ok(None),
    }
}

fn parts(folder: &Folder<'_>, pieces: &str, vocabulary_file: &str) -> Result<Parts> {
    let settings = folder.settings;
    let model = SentencePieceModel::read(folder.path, pieces)?;
    let user_defined = |kind| kind == Kind::UserDefined;
    if model.byte_fallback || model.pieces.iter().any(|piece| user_defined(piece.kind)) {
        return Err(model.wrong(
            "has byte fallback or user-defined pieces, which no Marian model was trained with",
        ));
    }
    if model.algorithm != Algorithm::Unigram {
        return Err(model.wrong("is a BPE model, and Marian's are Unigram models"));
    }
    let names = SpecialTokens::new(
        settings,
        &defaults(&[("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")]),
    )?;
    let extra = settings.extra_tokens().unwrap_or_default();
    let added = names.to_add(settings, Vec::new(), extra);
    let unknown = names.required("unk_token")?;
    let vocab = vocabulary(folder.path, vocabulary_file)?;
    if !vocab.contains_key(unknown) {
        return Err(Error::Tokenizer {
            file: vocabulary_file.into(),
            problem: format!("lacks the unknown token '{unknown}'"),
        });
    }
    let is_added: BTreeSet<&str> = added.iter().map(|token| token.content.as_str()).collect();
    let is_code =
        |piece: &str| piece.starts_with(">>") && piece.ends_with("<<") && !is_added.contains(piece);
    let known = vocab.keys().filter(|piece| is_code(piece)).cloned().collect();
    let mut tokens: Vec<(String, usize)> = Vec::with_capacity(vocab.len());
    let mut visible = added.clone();
    for (piece, id) in vocab {
        let id = id.as_u64().unwrap_or_default() as usize;
        let piece = match is_code(&piece) {
            true => format!("{CODE_MARK}{piece}"),
            false => piece,
        };
        if piece.starts_with(CODE_MARK) {
            visible.push(super::settings::special(piece.clone()));
        }
        tokens.push((piece, id));
    }
    let ids = Ids::new(tokens, settings, &visible);
    let from = ids.end();
    let (cut, surplus) = ids.model(&model, from, unknown)?;
    let mut normalizer = model.normalizer;
    normalizer.language_codes = Some(LanguageCodes { known, unknown: unknown.to_owned() });
    Ok(Parts {
        normalizer: json!(normalizer),
        pre_tokenizer: Value::Null,
        model: cut,
        decoder: decoder(folder.version(), &added),
        post_processor: PostProcessor::after(&[names.required("eos_token")?]),
        added,
        surplus,
    })
}
