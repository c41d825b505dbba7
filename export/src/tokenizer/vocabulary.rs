//! Vocabularies of SentencePiece models, `vocab.json` and `merges.txt`, `vocab.txt`, or
//! `tokenizer.json`.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::{fs, io};

use epitome_runtime::bundle::Surplus;
use serde_json::{Map, Value, json};
use tokenizers::AddedToken;

use super::class::Folder;
use super::sentencepiece::{Algorithm, SentencePieceModel};
use super::settings::object;
use crate::error::{Error, Result};
use crate::version::Version;

/// Pieces and their ids.
pub(super) const VOCAB: &str = "vocab.json";
/// Pairs of pieces to merge, best first.
pub(super) const MERGES: &str = "merges.txt";
/// Pieces, one on each line. The number of the line is the id.
pub(super) const VOCAB_TXT: &str = "vocab.txt";

/// A SentencePiece vocabulary in the order of a class.
#[derive(Debug)]
pub(super) struct Pieces {
    /// Pieces by id, with their scores.
    pub(super) list: Vec<(String, f64)>,
    /// The normalizer's table in the format of `tokenizer.json`.
    pub(super) charsmap: Option<Value>,
    /// Control and user-defined pieces, if the vocabulary is that of a SentencePiece model.
    pub(super) added: Vec<AddedToken>,
    /// The SentencePiece model, if the vocabulary is that of one.
    model: Option<SentencePieceModel>,
}

impl Pieces {
    /// Reads the vocabulary of the `tokenizer.json` in `folder`, if that is used, or else of the
    /// SentencePiece model in `file`, in the order of the class.
    pub(super) fn read(
        folder: &Folder<'_>,
        file: &str,
        order: impl FnOnce(&SentencePieceModel) -> Result<Vec<(String, f64)>>,
    ) -> Result<Self> {
        if let Some(json) = folder.json {
            return Ok(Self {
                list: scored(json)?,
                charsmap: charsmap(json),
                added: Vec::new(),
                model: None,
            });
        }
        let model = SentencePieceModel::read(folder.path, file)?;
        Ok(Self {
            list: order(&model)?,
            charsmap: model.charsmap(),
            added: model.added_pieces().collect(),
            model: Some(model),
        })
    }

    /// The model of the `tokenizers` library: Unigram, or BPE in 4.x if the SentencePiece model is
    /// BPE.
    pub(super) fn model(&self, version: Version, unknown: usize) -> Result<Value> {
        let bpe = self
            .model
            .as_ref()
            .filter(|model| version == Version::V4 && model.algorithm == Algorithm::Bpe);
        let Some(model) = bpe else {
            return Ok(json!({
                "type": "Unigram", "unk_id": unknown, "vocab": self.list, "byte_fallback": false,
            }));
        };
        let unknown = model.unk_piece.as_str();
        if !self.list.iter().any(|(piece, _)| piece == unknown) {
            return Err(model.wrong(format!("lacks its unknown piece '{unknown}'")));
        }
        let ids = self.list.iter().enumerate();
        let vocab: Map<String, Value> =
            ids.map(|(id, (text, _))| (text.clone(), json!(id))).collect();
        Ok(bpe_model(json!(vocab), unknown, json!(self.merges(model))))
    }

    /// Id of the unknown piece: that of the SentencePiece model, or `default_id`.
    pub(super) fn unknown(&self, version: Version, default_id: usize) -> usize {
        let model = self.model.as_ref().filter(|_| version == Version::V4);
        model.map_or(default_id, |model| model.unk_id)
    }

    /// All pairs of pieces that form a piece, best score first: `generate_merges` of 4.x with
    /// scores.
    fn merges<'a>(&'a self, model: &'a SentencePieceModel) -> Vec<(&'a str, &'a str)> {
        let ids = ids(model.pieces.iter().map(|piece| piece.text.as_str()));
        let mut scores: Vec<(&str, f64)> = Vec::new();
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (piece, score) in &self.list {
            // As in a Python dictionary, the last score counts at the first position.
            match seen.get(piece.as_str()) {
                Some(&at) => scores[at].1 = *score,
                None => {
                    seen.insert(piece, scores.len());
                    scores.push((piece, *score));
                }
            }
        }
        let mut merges = Vec::new();
        for (piece, score) in scores {
            for (left, right) in pairs(piece, &ids) {
                merges.push((score, left, right));
            }
        }
        let length = |text: &str| text.chars().count();
        merges.sort_by(|a, b| {
            b.0.total_cmp(&a.0)
                .then_with(|| length(b.1).cmp(&length(a.1)))
                .then_with(|| length(b.2).cmp(&length(a.2)))
        });
        merges.into_iter().map(|(_, left, right)| (left, right)).collect()
    }
}

/// A BPE model of SentencePiece's pieces. Neighbours that no piece covers become one unknown token.
pub(super) fn bpe_model(vocab: Value, unknown: &str, merges: Value) -> Value {
    json!({
        "type": "BPE", "dropout": null, "unk_token": unknown,
        "continuing_subword_prefix": null, "end_of_word_suffix": null,
        "fuse_unk": true, "byte_fallback": false, "ignore_merges": false,
        "vocab": vocab, "merges": merges,
    })
}

/// The id of each piece; the last one if a piece occurs twice.
pub(super) fn ids<'a>(pieces: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    pieces.enumerate().map(|(id, piece)| (piece, id)).collect()
}

/// The pairs of pieces that form a piece, by id.
pub(super) fn pairs<'a>(
    piece: &'a str,
    ids: &HashMap<&str, usize>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut pairs: Vec<_> = piece
        .char_indices()
        .skip(1)
        .map(|(at, _)| piece.split_at(at))
        .filter_map(|pair| Some(((*ids.get(pair.0)?, *ids.get(pair.1)?), pair)))
        .collect();
    pairs.sort_by_key(|(ids, _)| *ids);
    pairs.into_iter().map(|(_, pair)| pair)
}

/// Vocabulary and merges of a byte-level BPE: from `tokenizer.json` if that is used, or else from
/// `vocab.json` and `merges.txt`.
pub(super) fn byte_pairs(folder: &Folder<'_>) -> Result<(Value, Value)> {
    match folder.json.map(|json| &json["model"]) {
        Some(model) if model["vocab"].is_object() && model["merges"].is_array() => {
            Ok((model["vocab"].clone(), model["merges"].clone()))
        }
        Some(_) => Err(wrong_json("has no BPE vocabulary, which its class needs")),
        None => {
            let vocab = vocabulary(folder.path, VOCAB)?;
            Ok((json!(vocab), json!(merges(folder.path)?)))
        }
    }
}

/// Vocabulary of a WordPiece model: from `tokenizer.json` if that is used, or else from
/// `vocab.txt`.
pub(super) fn words(folder: &Folder<'_>) -> Result<Value> {
    if let Some(json) = folder.json {
        return match &json["model"]["vocab"] {
            vocab @ Value::Object(_) => Ok(vocab.clone()),
            _ => Err(wrong_json("has no WordPiece vocabulary, which its class needs")),
        };
    }
    let word: fn(&str) -> &str = match folder.version() {
        Version::V4 => |line| line,
        Version::V5 => str::trim_end,
    };
    Ok(json!(words_of_lines(folder.path, VOCAB_TXT, word)?))
}

/// The words in the lines of a file, each with its line number.
pub(super) fn words_of_lines(
    folder: &Path,
    name: &str,
    word: fn(&str) -> &str,
) -> Result<Map<String, Value>> {
    let text = read_text(folder, name)?;
    // If a word occurs twice, the last line counts.
    Ok(text.lines().enumerate().map(|(id, line)| (word(line).to_owned(), json!(id))).collect())
}

/// Pieces and scores of a Unigram model in `tokenizer.json`.
fn scored(json: &Value) -> Result<Vec<(String, f64)>> {
    serde_json::from_value(json["model"]["vocab"].clone())
        .map_err(|_| wrong_json("has no Unigram vocabulary, which its class needs"))
}

/// The first table of replacements in the normalizer of `tokenizer.json`.
pub(super) fn charsmap(json: &Value) -> Option<Value> {
    let normalizer = &json["normalizer"];
    let steps = match normalizer["normalizers"].as_array() {
        Some(steps) => steps.as_slice(),
        None => std::slice::from_ref(normalizer),
    };
    steps.iter().find(|step| step["type"] == "Precompiled").cloned()
}

/// Reads a vocabulary: an object of pieces with distinct ids.
pub(super) fn vocabulary(folder: &Path, name: &str) -> Result<Map<String, Value>> {
    let wrong = |problem: String| Error::Tokenizer { file: name.into(), problem };
    let vocab = object(folder, name)?.ok_or_else(|| wrong("is missing".into()))?;
    let mut ids = BTreeSet::new();
    for (piece, id) in &vocab {
        let small = id.as_u64().filter(|id| *id < u64::from(u32::MAX));
        if !small.is_some_and(|id| ids.insert(id)) {
            return Err(wrong(format!(
                "gives the piece '{piece}' the id {id}, and ids must be whole numbers, each once"
            )));
        }
    }
    Ok(vocab)
}

/// Adds the symbols that merges need and `vocab` lacks, with ids from `from` on. They become the
/// token `unknown`.
pub(super) fn add_symbols_of_merges(
    vocab: &mut Map<String, Value>,
    merges: &[(String, String)],
    from: u64,
    unknown: u64,
) -> Option<Surplus> {
    let symbols: BTreeSet<String> = merges
        .iter()
        .flat_map(|(left, right)| [left.clone(), right.clone(), format!("{left}{right}")])
        .filter(|symbol| !vocab.contains_key(symbol))
        .collect();
    let surplus =
        (!symbols.is_empty()).then_some(Surplus { from: from as u32, token: unknown as u32 });
    vocab.extend(symbols.into_iter().zip((from..).map(|id| json!(id))));
    surplus
}

/// Reads the merges, best first: two pieces on each line, after a first line with the version.
pub(super) fn merges(folder: &Path) -> Result<Vec<(String, String)>> {
    read_text(folder, MERGES)?
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with("#version"))
        .map(|(number, line)| {
            line.split_once(' ')
                .map(|(left, right)| (left, right.split_once(' ').unwrap_or((right, ""))))
                // FSMT's lines have a count behind the two pieces.
                .filter(|(_, (_, count))| count.bytes().all(|digit| digit.is_ascii_digit()))
                .map(|(left, (right, _))| (left, right))
                .map(|(left, right)| (left.to_owned(), right.to_owned()))
                .ok_or_else(|| Error::Tokenizer {
                    file: MERGES.into(),
                    problem: format!("has no two pieces in line {}", number + 1),
                })
        })
        .collect()
}

/// Reads a text file.
pub(super) fn read_text(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    fs::read_to_string(&path).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => {
            Error::Tokenizer { file: name.into(), problem: "is not UTF-8".into() }
        }
        _ => Error::io(&path, source),
    })
}

fn wrong_json(problem: &str) -> Error {
    Error::Tokenizer { file: "tokenizer.json".into(), problem: problem.into() }
}
