//! SentencePiece models: `spiece.model`, `sentencepiece.bpe.model`, `source.spm`.
//!
//! The format is `ModelProto` of SentencePiece's `src/sentencepiece_model.proto` (protobuf,
//! proto2); the fields that say how text is cut and normalized are read here, field for field, and
//! checked: the file may come from anywhere.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use epitome_runtime::tokenizer::{CharsMap, SentencePieceNormalizer};
use prost::Message;
use serde_json::{Value, json};
use tokenizers::AddedToken;

use crate::error::{Error, Result};

/// The largest file read: ten times what a vocabulary of 250,000 pieces takes.
const MAX_FILE: u64 = 64 << 20;
/// Most pieces of a model, for the same reason.
const MAX_PIECES: usize = 1 << 21;
/// Longest piece in bytes: SentencePiece's own trainer stops at 512 characters.
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

/// What a piece is: `ModelProto.SentencePiece.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Found in text.
    Normal,
    /// Stands for what no piece covers.
    Unknown,
    /// Never found in text: `</s>`.
    Control,
    /// Always found in text, before anything else is cut.
    UserDefined,
    /// One byte of a character that no piece covers.
    Byte,
    /// Not to be found in text.
    Unused,
}

/// How text is cut into pieces: `TrainerSpec.ModelType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// The likeliest path through all pieces.
    Unigram,
    /// Merges, best first.
    Bpe,
}

/// A piece; its id is its position.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    /// The text, `▁` for a space.
    pub(super) text: String,
    /// Log-probability (Unigram), or minus the rank of the merge (BPE).
    pub(super) score: f32,
    /// What it is.
    pub(super) kind: Kind,
}

/// A SentencePiece model that has been checked.
#[derive(Clone, Debug)]
pub(super) struct SentencePieceModel {
    /// The file's name, for errors.
    pub(super) file: String,
    /// The pieces: none empty, no two alike, one of them the unknown.
    pub(super) pieces: Vec<Piece>,
    /// How text is cut.
    pub(super) algorithm: Algorithm,
    /// Whether what no piece covers becomes bytes.
    pub(super) byte_fallback: bool,
    /// Where the trainer put the unknown piece.
    pub(super) unk_id: usize,
    /// The unknown piece.
    pub(super) unk_piece: String,
    /// How text is normalized.
    pub(super) normalizer: SentencePieceNormalizer,
}

impl SentencePieceModel {
    /// Reads the file `name` in `folder`.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no SentencePiece model, contradicts itself, or asks for
    /// something that no `tokenizer.json` can say.
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

    /// Reads a model from the bytes of the file `name`.
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

    /// Refuses a model whose first `count` pieces are found in text, where a class replaces them.
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

    /// Pieces and scores from the id `first` on, as `tokenizer.json`'s Unigram model lists them.
    pub(super) fn scored(&self, first: usize) -> impl Iterator<Item = (String, f64)> {
        self.pieces.iter().skip(first).map(|piece| (piece.text.clone(), f64::from(piece.score)))
    }

    /// Control and user-defined pieces, as transformers' `SentencePieceExtractor` adds them to a
    /// tokenizer: both are found in text as they stand, and the former are special.
    pub(super) fn added_pieces(&self) -> impl Iterator<Item = AddedToken> {
        self.pieces
            .iter()
            .filter(|piece| matches!(piece.kind, Kind::Control | Kind::UserDefined))
            .map(|piece| AddedToken {
                normalized: false,
                ..AddedToken::from(piece.text.clone(), piece.kind == Kind::Control)
            })
    }

    /// The table as the normalizer of the `tokenizers` library reads it; none where the model
    /// changes no character.
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
