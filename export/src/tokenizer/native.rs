//! SentencePiece as it runs itself, for the classes of transformers that leave text to it (Marian,
//! M2M-100), where the others imitate it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::family::one_space;
use super::sentencepiece::{Kind, SentencePieceModel};
use crate::error::Result;

/// White space as Python's `strip` and `\s` see it.
pub(super) const BLANK: &str = r"[\s\x1c-\x1f]+";

/// What stands between a replaced character and a mark behind it: no text has this noncharacter.
const APART: &str = "\u{fdd0}";
/// Marks, and whatever else joins the character before it.
const MARKS: &str =
    "[\\p{M}\u{200c}\u{200d}\u{ff9e}\u{ff9f}\u{1f3fb}-\u{1f3ff}\u{e0020}-\u{e007f}]";

/// SentencePiece's own normalization (`Normalizer::Normalize` in `src/normalizer.cc`).
///
/// The table is that of the `tokenizers` library, which looks up a character together with the marks
/// behind it, and drops them where the character alone is found: they are kept apart from it.
pub(super) fn normalizer(model: &SentencePieceModel) -> Value {
    let replace = |pattern: &str, content: &str| json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": content});
    let mut steps = Vec::new();
    if let Some(charsmap) = model.charsmap() {
        let alone = class(model.replaced_alone());
        steps.extend(alone.map(|class| replace(&format!("(?<={class})(?={MARKS})"), APART)));
        steps.push(charsmap);
        steps.push(json!({"type": "Replace", "pattern": {"String": APART}, "content": ""}));
    }
    if model.remove_extra_whitespaces {
        steps.extend([replace("^ +", ""), one_space()]);
    }
    steps.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}));
    if model.remove_extra_whitespaces {
        steps.push(replace("▁+$", ""));
    }
    if model.add_dummy_prefix {
        steps.push(json!({"type": "Prepend", "prepend": "▁"}));
    }
    json!({"type": "Sequence", "normalizers": steps})
}

/// A regular expression for one of these characters, which are in order; none for none.
fn class(characters: &[char]) -> Option<String> {
    let mut ranges: Vec<(char, char)> = Vec::new();
    for &character in characters {
        match ranges.last_mut() {
            Some((_, last)) if u32::from(*last) + 1 == u32::from(character) => *last = character,
            _ => ranges.push((character, character)),
        }
    }
    let literal = |character: char| match character.is_ascii() {
        true => format!("\\{character}"),
        false => character.to_string(),
    };
    let ranges: String = ranges
        .iter()
        // Letters and digits of ASCII mean something else behind a backslash.
        .filter(|(first, _)| !first.is_ascii_alphanumeric())
        .map(|&(first, last)| format!("{}-{}", literal(first), literal(last)))
        .collect();
    (!ranges.is_empty()).then(|| format!("[{ranges}]"))
}

/// Pieces joined, spaces for `▁`, and nothing blank at the ends, as Python's `strip` sees it.
pub(super) fn decoder() -> Value {
    let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    json!({"type": "Sequence", "decoders": [
        replace(json!({"Regex": "^ "}), ""),
        {"type": "Fuse"},
        replace(json!({"String": "▁"}), " "),
        replace(json!({"Regex": format!("^{BLANK}|{BLANK}$")}), ""),
    ]})
}

/// Refuses kinds of pieces that SentencePiece treats in a way of its own, and no `family` uses.
pub(super) fn must_be_plain(model: &SentencePieceModel, family: &str) -> Result<()> {
    let plain = |kind| matches!(kind, Kind::Normal | Kind::Control | Kind::Unknown);
    if model.byte_fallback || !model.pieces.iter().all(|piece| plain(piece.kind)) {
        return Err(model.wrong(format!(
            "has byte fallback, user-defined or unused pieces, which no {family} was trained with"
        )));
    }
    Ok(())
}

/// A BPE model over SentencePiece's pieces: neighbours that no piece covers are one unknown token.
pub(super) fn bpe(vocab: Value, unknown: &str, merges: Value) -> Value {
    json!({
        "type": "BPE", "dropout": null, "unk_token": unknown,
        "continuing_subword_prefix": null, "end_of_word_suffix": null,
        "fuse_unk": true, "byte_fallback": false, "ignore_merges": false,
        "vocab": vocab, "merges": merges,
    })
}

/// Pieces that are found in text, with their scores.
pub(super) fn normal(model: &SentencePieceModel) -> impl Iterator<Item = (&str, f32)> {
    let pieces = model.pieces.iter();
    pieces
        .filter(|piece| piece.kind == Kind::Normal)
        .map(|piece| (piece.text.as_str(), piece.score))
}

/// Merges, best first: SentencePiece joins any two neighbours that make a piece, by its score.
pub(super) fn merges(model: &SentencePieceModel) -> Result<Vec<(&str, &str)>> {
    let known: BTreeSet<&str> = normal(model).map(|(text, _)| text).collect();
    let mut pieces: Vec<(&str, f32)> = normal(model).collect();
    pieces.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut merges = Vec::new();
    for (text, _) in pieces {
        for (at, character) in text.char_indices() {
            // A piece starts from characters: one that is none itself would never be joined here.
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
