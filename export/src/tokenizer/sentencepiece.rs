//! SentencePiece models: `spiece.model`, `sentencepiece.bpe.model`, `source.spm`.
//!
//! The format is `ModelProto` of SentencePiece's `src/sentencepiece_model.proto` (protobuf,
//! proto2). Only fields for segmentation and normalization are read. They are checked, since the
//! file may be untrusted.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use epitome_runtime::tokenizer::{CharsMap, SentencePieceNormalizer};
use prost::Message;
use serde_json::{Value, json};
use tokenizers::AddedToken;

use crate::error::{Error, Result};

/// Size limit of a file in bytes: ten times that of a vocabulary of 250,000 pieces.
const MAX_FILE: u64 = 64 << 20;
/// Limit of pieces, ten times as well.
const MAX_PIECES: usize = 1 << 21;
/// Limit of a piece in bytes: SentencePiece's trainer stops at 512 characters.
const MAX_PIECE: usize = 4096;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<PieceProto>,
    #[prost(message, optional, tag = "2")]
    trainer_spec: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer_spec: Option<NormalizerSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct PieceProto {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct TrainerSpec {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    treat_whitespace_as_suffix: Option<bool>,
    #[prost(bool, optional, tag = "35")]
    byte_fallback: Option<bool>,
    #[prost(int32, optional, tag = "40")]
    unk_id: Option<i32>,
    #[prost(string, optional, tag = "45")]
    unk_piece: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    escape_whitespaces: Option<bool>,
}

/// Type of a piece: `ModelProto.SentencePiece.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is found in text.
    Normal,
    /// It replaces text that no piece covers.
    Unknown,
    /// It is never found in text: `</s>`.
    Control,
    /// It is always found in text, before the segmentation.
    UserDefined,
    /// A byte of a character that no piece covers.
    Byte,
    /// It is not used.
    Unused,
}

/// Segmentation algorithm: `TrainerSpec.ModelType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// The most probable segmentation.
    Unigram,
    /// Merges in the order of their scores.
    Bpe,
}

/// A piece; its id is its position.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    /// Its text, with `▁` for a space.
    pub(super) text: String,
    /// Log-probability (Unigram), or minus the rank of the merge (BPE).
    pub(super) score: f32,
    /// Its type.
    pub(super) kind: Kind,
}

/// A SentencePiece model that has been checked.
#[derive(Clone, Debug)]
pub(super) struct SentencePieceModel {
    /// The file's name, for errors.
    pub(super) file: String,
    /// The pieces. None is empty, all differ, and one is the unknown piece.
    pub(super) pieces: Vec<Piece>,
    /// The segmentation algorithm.
    pub(super) algorithm: Algorithm,
    /// Whether text that no piece covers is split into bytes.
    pub(super) byte_fallback: bool,
    /// Id of the unknown piece.
    pub(super) unk_id: usize,
    /// Text of the unknown piece.
    pub(super) unk_piece: String,
    /// The normalizer.
    pub(super) normalizer: SentencePieceNormalizer,
}

impl SentencePieceModel {
    /// Reads the file `name` in `folder`.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is not a SentencePiece model, contradicts itself, or uses a feature
    /// that `tokenizer.json` does not have.
    pub(super) fn read(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let io = |source| Error::io(&path, source);
        let file = File::open(&path).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(wrong(name, "is larger than any SentencePiece model"));
        }
        Self::parse(name, &bytes)
    }

    /// Parses the bytes of the file `name`.
    pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<Self> {
        let proto = ModelProto::decode(bytes)
            .map_err(|error| wrong(name, format!("is not a SentencePiece model: {error}")))?;
        let trainer = proto.trainer_spec.unwrap_or_default();
        let normalizer = proto.normalizer_spec.unwrap_or_default();
        let algorithm = match trainer.model_type.unwrap_or(1) {
            1 => Algorithm::Unigram,
            2 => Algorithm::Bpe,
            other => {
                let kind = match other {
                    3 => "a word".to_owned(),
                    4 => "a character".to_owned(),
                    other => format!("an unknown (type {other})"),
                };
                return Err(wrong(name, format!("is {kind} model, and must be Unigram or BPE")));
            }
        };
        if trainer.treat_whitespace_as_suffix == Some(true) {
            return Err(wrong(
                name,
                "puts spaces at the end of pieces (treat_whitespace_as_suffix), which no \
                 tokenizer.json can say",
            ));
        }
        if normalizer.escape_whitespaces == Some(false) {
            return Err(wrong(
                name,
                "keeps spaces as they are (escape_whitespaces false), which no checkpoint does",
            ));
        }
        let damaged = |problem: &str| {
            let problem = format!("has a damaged precompiled_charsmap: {problem}");
            wrong(name, problem)
        };
        let charsmap = normalizer.precompiled_charsmap.filter(|charsmap| !charsmap.is_empty());
        Ok(Self {
            file: name.into(),
            pieces: pieces(name, proto.pieces)?,
            algorithm,
            byte_fallback: trainer.byte_fallback == Some(true),
            unk_id: usize::try_from(trainer.unk_id.unwrap_or(0)).unwrap_or(0),
            unk_piece: trainer.unk_piece.unwrap_or_else(|| "<unk>".into()),
            normalizer: SentencePieceNormalizer {
                precompiled_charsmap: charsmap
                    .map(|bytes| CharsMap::parse(&bytes).map_err(damaged))
                    .transpose()?,
                add_dummy_prefix: normalizer.add_dummy_prefix != Some(false),
                remove_extra_whitespaces: normalizer.remove_extra_whitespaces != Some(false),
                language_codes: None,
            },
        })
    }

    /// Fails if one of the first `count` pieces, which a class replaces, is found in text.
    pub(super) fn must_begin_with_special(&self, count: usize) -> Result<()> {
        let found = |piece: &&Piece| !matches!(piece.kind, Kind::Control | Kind::Unknown);
        match self.pieces.iter().take(count).find(found) {
            None => Ok(()),
            Some(piece) => Err(self.wrong(format!(
                "has the piece '{}' among its first {count}, where special ones must be",
                piece.text
            ))),
        }
    }

    /// Pieces with scores from the id `first` on, in the format of `tokenizer.json`'s Unigram
    /// model.
    pub(super) fn scored(&self, first: usize) -> impl Iterator<Item = (String, f64)> {
        self.pieces.iter().skip(first).map(|piece| (piece.text.clone(), f64::from(piece.score)))
    }

    /// Control and user-defined pieces, as transformers' `SentencePieceExtractor` adds them to a
    /// tokenizer. Both are found in text, and the former are special.
    pub(super) fn added_pieces(&self) -> impl Iterator<Item = AddedToken> {
        self.pieces
            .iter()
            .filter(|piece| matches!(piece.kind, Kind::Control | Kind::UserDefined))
            .map(|piece| AddedToken {
                normalized: false,
                ..AddedToken::from(piece.text.clone(), piece.kind == Kind::Control)
            })
    }

    /// The normalizer's table in the format of the `tokenizers` library; `None` if the model has no
    /// table.
    pub(super) fn charsmap(&self) -> Option<Value> {
        let mut normalizer = json!(self.normalizer);
        let table = normalizer["precompiled_charsmap"].take();
        table.is_string().then(|| json!({"type": "Precompiled", "precompiled_charsmap": table}))
    }

    /// An error about this model's file.
    pub(super) fn wrong(&self, problem: impl Into<String>) -> Error {
        wrong(&self.file, problem)
    }
}

fn wrong(file: &str, problem: impl Into<String>) -> Error {
    Error::Tokenizer { file: file.into(), problem: problem.into() }
}

fn pieces(name: &str, protos: Vec<PieceProto>) -> Result<Vec<Piece>> {
    if protos.is_empty() || protos.len() > MAX_PIECES {
        let count = protos.len();
        return Err(wrong(name, format!("has {count} pieces, and must have 1 to {MAX_PIECES}")));
    }
    let pieces = protos
        .into_iter()
        .enumerate()
        .map(|(id, proto)| piece(id, proto).map_err(|problem| wrong(name, problem)))
        .collect::<Result<Vec<_>>>()?;
    let mut known = BTreeSet::new();
    if let Some(twice) = pieces.iter().find(|piece| !known.insert(&piece.text)) {
        let text = &twice.text;
        return Err(wrong(name, format!("has the piece '{text}' twice")));
    }
    match pieces.iter().filter(|piece| piece.kind == Kind::Unknown).count() {
        1 => Ok(pieces),
        count => Err(wrong(name, format!("has {count} unknown pieces, and must have one"))),
    }
}

fn piece(id: usize, proto: PieceProto) -> std::result::Result<Piece, String> {
    let text = proto.piece.unwrap_or_default();
    if text.is_empty() || text.len() > MAX_PIECE {
        let bytes = text.len();
        return Err(format!(
            "has a piece of {bytes} bytes under id {id}, and every piece must have 1 to {MAX_PIECE}"
        ));
    }
    let kind = match proto.kind.unwrap_or(1) {
        1 => Kind::Normal,
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::UserDefined,
        5 => Kind::Unused,
        6 => Kind::Byte,
        other => {
            return Err(format!("has a piece of an unknown type ({other}) under id {id}"));
        }
    };
    let score = proto.score.unwrap_or(0.0);
    if !score.is_finite() {
        return Err(format!("has the score {score} for its piece '{text}'"));
    }
    Ok(Piece { text, score, kind })
}
