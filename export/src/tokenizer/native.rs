//! SentencePiece as it runs itself, for the classes of transformers that leave text to it (Marian,
//! M2M-100), where the others imitate it.

use serde_json::{Value, json};

use super::family::one_space;
use super::sentencepiece::SentencePieceModel;

/// SentencePiece's own normalization (`Normalizer::Normalize` in `src/normalizer.cc`).
pub(super) fn normalizer(model: &SentencePieceModel) -> Value {
    let replace = |pattern: &str, content: &str| json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": content});
    let mut steps: Vec<Value> = model.charsmap().into_iter().collect();
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

/// Pieces joined, spaces for `▁`, and nothing blank at the ends, as Python's `strip` sees it.
pub(super) fn decoder() -> Value {
    const BLANK: &str = r"[\s\x1c-\x1f]+";
    let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    json!({"type": "Sequence", "decoders": [
        replace(json!({"Regex": "^ "}), ""),
        {"type": "Fuse"},
        replace(json!({"String": "▁"}), " "),
        replace(json!({"Regex": format!("^{BLANK}|{BLANK}$")}), ""),
    ]})
}
