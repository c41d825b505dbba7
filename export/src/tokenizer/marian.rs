//! Marian: text is cut by `source.spm`, and `vocab.json` gives the pieces of both languages their
//! ids.
//!
//! Agrees with `MarianTokenizer` (`models/marian/tokenization_marian.py`) of transformers 5.23,
//! which runs SentencePiece itself. One `tokenizer.json` carries it, because only two things of the
//! three files matter: how `source.spm` cuts, and what `vocab.json` says for encoding and decoding
//! (`target.spm` cuts nothing but training targets). So the list of pieces is that of `vocab.json`;
//! those that `source.spm` has keep its scores. The others must never be found in text: they are
//! stored behind a space, which text has none of once spaces have become `▁`, and the decoder takes
//! it away. Pieces that `source.spm` alone has come last, and become the unknown token
//! ([`Surplus`]).
//!
//! Two things differ from transformers. A language code of the vocabulary (`>>fra<<`) is one token
//! wherever it stands, and an unknown one is plain text; in transformers any code is one token at
//! the beginning, and none elsewhere. And the normalizer of the `tokenizers` library replaces the
//! shortest sequence that it finds within a character and its marks, SentencePiece the longest.

use std::collections::BTreeMap;

use epitome_runtime::bundle::Surplus;
use serde_json::Value;
use tokenizers::AddedToken;

use super::blueprint::{Blueprint, Frame, SpecialTokens, defaults};
use super::byte_level::{VOCAB, vocabulary};
use super::family::{Class, Folder, Tidying, unigram};
use super::native::{decoder, normalizer};
use super::sentencepiece::{Kind, SentencePieceModel};
use crate::error::{Error, Result};

const SOURCE: &str = "source.spm";

pub(super) const MARIAN: Class = Class {
    name: "MarianTokenizer",
    files: &[SOURCE, "target.spm", VOCAB],
    convert,
    tidying: Tidying::Asked,
};

fn convert(folder: &Folder<'_>) -> Result<Blueprint> {
    let settings = folder.settings;
    if settings.flag("separate_vocabs", false)? {
        return Err(Error::Tokenizer {
            file: super::settings::TOKENIZER_CONFIG.into(),
            problem: "says separate_vocabs, and one tokenizer.json cannot hold two vocabularies: \
                      use a model whose languages share vocab.json"
                .into(),
        });
    }
    let model = SentencePieceModel::read(folder.path, SOURCE)?;
    model.must_be_unigram("MarianTokenizer")?;
    if model.byte_fallback
        || model
            .pieces
            .iter()
            .any(|piece| piece.kind == Kind::UserDefined)
    {
        return Err(model.wrong(
            "has byte fallback or user-defined pieces, which no Marian model was trained with",
        ));
    }
    let names = SpecialTokens::new(
        settings,
        &defaults(&[
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
        ]),
    )?;
    let added = names.to_add(settings, settings.extra_tokens().unwrap_or_default());
    let pieces = shared_pieces(folder)?;
    let unk = names.required("unk_token")?;
    let unknown = pieces.iter().position(|piece| piece == unk);
    let unknown = unknown.ok_or_else(|| wrong(format!("lacks the unknown token '{unk}'")))?;

    let mut scores: BTreeMap<&str, f64> = model
        .pieces
        .iter()
        .filter(|piece| piece.kind == Kind::Normal)
        .map(|piece| (piece.text.as_str(), f64::from(piece.score)))
        .collect();
    let mut codes = Vec::new();
    let mut vocab = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        let is_code = piece.starts_with(">>") && piece.ends_with("<<");
        if is_code {
            codes.push(AddedToken {
                normalized: false,
                ..AddedToken::from(piece.clone(), false)
            });
        }
        let is_added = is_code || added.iter().any(|token| token.content == *piece);
        vocab.push(match scores.remove(piece.as_str()) {
            Some(score) => (piece.clone(), score),
            None if is_added => (piece.clone(), 0.0),
            None => (format!(" {piece}"), 0.0),
        });
    }
    let surplus = (!scores.is_empty()).then_some(Surplus {
        from: vocab.len() as u32,
        token: unknown as u32,
    });
    vocab.extend(
        scores
            .into_iter()
            .map(|(piece, score)| (piece.to_owned(), score)),
    );
    Ok(Blueprint {
        normalizer: normalizer(&model),
        pre_tokenizer: Value::Null,
        model: unigram(vocab, unknown),
        decoder: decoder(),
        frame: Frame::after(&[names.required("eos_token")?]),
        added: added.into_iter().chain(codes).collect(),
        surplus,
    })
}

/// The pieces of `vocab.json` by id: 0 and on, none left out.
fn shared_pieces(folder: &Folder<'_>) -> Result<Vec<String>> {
    let vocab = vocabulary(folder.path, VOCAB)?;
    let mut pieces = vec![String::new(); vocab.len()];
    for (piece, id) in vocab {
        let id = id.as_u64().and_then(|id| usize::try_from(id).ok());
        match id.and_then(|id| pieces.get_mut(id)) {
            Some(place) => *place = piece,
            None => return Err(wrong("leaves out ids, and must count from 0 on".into())),
        }
    }
    Ok(pieces)
}

fn wrong(problem: String) -> Error {
    Error::Tokenizer {
        file: VOCAB.into(),
        problem,
    }
}
