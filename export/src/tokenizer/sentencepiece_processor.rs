//! Conversions of the classes of transformers that run SentencePiece itself: Marian, M2M-100,
//! PLBART and BARTpho. The other classes imitate it.

use std::collections::{BTreeMap, BTreeSet};

use epitome_runtime::bundle::Surplus;
use epitome_runtime::tokenizer::CODE_MARK;
use serde_json::{Map, Value, json};
use tokenizers::AddedToken;

use super::class::replace;
use super::sentencepiece::{Algorithm, Kind, SentencePieceModel};
use super::settings::Settings;
use super::vocabulary::bpe_model;
use crate::error::Result;
use crate::version::Version;

/// White space of Python's `strip` and `\s`.
pub(super) const BLANK: &str = r"[\s\x1c-\x1f]+";

/// Marks both ends of an added token that 4.x separates. No text has this noncharacter.
const APART: char = '\u{fdd1}';

/// Joins pieces, replaces `▁` with spaces, removes marks before language codes and strips white
/// space as Python does. 4.x separates added tokens that are not special by spaces.
pub(super) fn decoder(version: Version, added: &[AddedToken]) -> Value {
    let mut steps = vec![replace(json!({"Regex": "^ "}), "")];
    let apart = added.iter().filter(|token| version == Version::V4 && !token.special);
    steps.extend(apart.map(|token| {
        let text = &token.content;
        let whole = json!({"Regex": format!("^{}$", escaped(text))});
        replace(whole, &format!("{APART}{text}{APART}"))
    }));
    steps.extend([
        json!({"type": "Fuse"}),
        replace(json!({"String": CODE_MARK}), ""),
        replace(json!({"String": "▁"}), " "),
        replace(json!({"Regex": format!(r"([\s\x1c-\x1f]*{APART}[\s\x1c-\x1f]*)+")}), " "),
        replace(json!({"Regex": format!("^{BLANK}|{BLANK}$")}), ""),
    ]);
    json!({"type": "Sequence", "decoders": steps})
}

/// A regular expression that matches this text.
fn escaped(text: &str) -> String {
    let characters = text.chars().map(|character| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '<' | '>' => character.to_string(),
        _ if character.is_ascii() => format!("\\x{:02x}", u32::from(character)),
        _ => character.to_string(),
    });
    characters.collect()
}

/// Fails for types of pieces that SentencePiece treats specially, and that no `family` uses.
pub(super) fn must_be_plain(model: &SentencePieceModel, family: &str) -> Result<()> {
    let plain = |kind| matches!(kind, Kind::Normal | Kind::Control | Kind::Unknown);
    if model.byte_fallback || !model.pieces.iter().all(|piece| plain(piece.kind)) {
        return Err(model.wrong(format!(
            "has byte fallback, user-defined or unused pieces, which no {family} was trained with"
        )));
    }
    Ok(())
}

/// Pieces that are found in text, with their scores.
pub(super) fn normal(model: &SentencePieceModel) -> impl Iterator<Item = (&str, f32)> {
    let pieces = model.pieces.iter();
    pieces
        .filter(|piece| piece.kind == Kind::Normal)
        .map(|piece| (piece.text.as_str(), piece.score))
}

/// Merges, best first. SentencePiece joins any two neighbours that form a piece, by its score.
pub(super) fn merges(model: &SentencePieceModel) -> Result<Vec<(&str, &str)>> {
    let known: BTreeSet<&str> = normal(model).map(|(text, _)| text).collect();
    let mut pieces: Vec<(&str, f32)> = normal(model).collect();
    pieces.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut merges = Vec::new();
    for (text, _) in pieces {
        for (at, character) in text.char_indices() {
            // Joins begin with single characters. A character that is not a piece would never be
            // joined.
            if !known.contains(&text[at..at + character.len_utf8()]) {
                return Err(model.wrong(format!(
                    "has the piece '{text}' and no piece for its '{character}' alone"
                )));
            }
            let (left, right) = text.split_at(at);
            if known.contains(left) && known.contains(right) {
                merges.push((left, right));
            }
        }
    }
    Ok(merges)
}

/// Limit of tokens in a vocabulary file.
const MAX_TOKENS: usize = 1 << 22;

/// The model's vocabulary, with other ids than SentencePiece's pieces have.
pub(super) struct Ids {
    /// All tokens of the model's table with their ids.
    tokens: Vec<(String, usize)>,
    /// Tokens that are found in text without SentencePiece.
    visible: BTreeSet<String>,
}

impl Ids {
    /// A vocabulary of these tokens and of added tokens with their own ids.
    pub(super) fn new(
        mut tokens: Vec<(String, usize)>,
        settings: &Settings,
        added: &[AddedToken],
    ) -> Self {
        let known: BTreeSet<&str> = tokens.iter().map(|(text, _)| text.as_str()).collect();
        let more: Vec<_> = settings
            .added_tokens()
            .iter()
            .filter(|(_, token)| !known.contains(token.content.as_str()))
            .map(|(id, token)| (token.content.clone(), *id as usize))
            .collect();
        tokens.extend(more);
        Self { tokens, visible: added.iter().map(|token| token.content.clone()).collect() }
    }

    /// The first id behind all tokens.
    pub(super) fn end(&self) -> usize {
        self.tokens.iter().map(|(_, id)| id.saturating_add(1)).max().unwrap_or(0)
    }

    /// The model that splits text into SentencePiece's pieces and gives them these ids.
    ///
    /// One vocabulary of `tokenizer.json` holds both. Tokens that are pieces keep their scores.
    /// Tokens that must never be found in text are stored with a space before them, since text has
    /// `▁` in place of spaces; the decoder removes it. Pieces that are not tokens come last, from
    /// the id `from` on, and become the token `unknown` ([`Surplus`]).
    pub(super) fn model(
        self,
        model: &SentencePieceModel,
        from: usize,
        unknown: &str,
    ) -> Result<(Value, Option<Surplus>)> {
        let mut rest: BTreeMap<&str, f64> =
            normal(model).map(|(text, score)| (text, f64::from(score))).collect();
        let size = from.saturating_add(rest.len());
        if size > MAX_TOKENS || self.tokens.iter().any(|(_, id)| *id >= from) {
            return Err(model.wrong(format!(
                "belongs to a vocabulary with ids beyond {MAX_TOKENS}, which no model has"
            )));
        }
        let place = self.tokens.iter().find(|(text, _)| text == unknown);
        let unknown_id = place.map_or(0, |(_, id)| *id);
        let mut vocab: Vec<(String, usize, f64)> = Vec::with_capacity(size);
        for (text, id) in self.tokens {
            vocab.push(match rest.remove(text.as_str()) {
                Some(score) => (text, id, score),
                None if self.visible.contains(&text) => (text, id, 0.0),
                None => (format!(" {text}"), id, 0.0),
            });
        }
        let surplus =
            (!rest.is_empty()).then_some(Surplus { from: from as u32, token: unknown_id as u32 });
        let alone = rest.into_iter().zip(from..);
        vocab.extend(alone.map(|((text, score), id)| (text.to_owned(), id, score)));
        let cut = match model.algorithm {
            Algorithm::Unigram => {
                let size = vocab.iter().map(|(_, id, _)| id + 1).max().unwrap_or(0);
                // Fills ids that no token has.
                let mut list: Vec<(String, f64)> =
                    (0..size).map(|id| (format!("  {id}"), 0.0)).collect();
                for (text, id, score) in vocab {
                    list[id] = (text, score);
                }
                json!({"type": "Unigram", "unk_id": unknown_id, "vocab": list,
                       "byte_fallback": false})
            }
            Algorithm::Bpe => {
                let vocab: Map<String, Value> =
                    vocab.into_iter().map(|(text, id, _)| (text, json!(id))).collect();
                bpe_model(json!(vocab), unknown, json!(merges(model)?))
            }
        };
        Ok((cut, surplus))
    }
}
