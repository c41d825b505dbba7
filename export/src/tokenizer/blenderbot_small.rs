//! BlenderbotSmall: ParlAI's BPE over lower-case words, `vocab.json` and `merges.txt`.
//!
//! Agrees with `BlenderbotSmallTokenizer`
//! (`models/blenderbot_small/tokenization_blenderbot_small.py`) of transformers 4.57 and 5.24. The
//! vocabulary marks pieces that do not end a word (`th@@`), the merges those that do (`e</w>`). The
//! model uses the latter, and the decoder writes the former. Symbols that occur only within merges
//! have no id, and become the unknown token.

use serde_json::{Map, Value, json};

use super::class::{Class, CleanUpSpaces, Folder, Json, replace};
use super::sentencepiece_processor::BLANK;
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults};
use super::vocabulary::{MERGES, VOCAB, add_symbols_of_merges, merges, vocabulary};
use crate::error::{Error, Result};

pub(super) const BLENDERBOT_SMALL: Class = Class {
    names: &["BlenderbotSmallTokenizer"],
    files: &[VOCAB, MERGES],
    convert,
    json: Json::Ignored,
    clean_up_spaces: CleanUpSpaces::IfSet,
    end_token_once: false,
};

/// Suffix of pieces that do not end a word, in the vocabulary.
const GOES_ON: &str = "@@";
/// Suffix of symbols that end a word, in the merges.
const ENDS: &str = "</w>";

fn convert(folder: &Folder<'_>) -> Result<Parts> {
    let settings = folder.settings;
    let names = SpecialTokens::new(
        settings,
        &defaults(&[
            ("bos_token", "__start__"),
            ("eos_token", "__end__"),
            ("unk_token", "__unk__"),
            ("pad_token", "__null__"),
        ]),
    )?;
    let added = names.to_add(settings, Vec::new(), settings.extra_tokens().unwrap_or_default());
    if let Some(token) = added.iter().find(|token| !token.special) {
        return Err(wrong(format!(
            "has beside it the added token '{}', which is not special: no tokenizer.json can \
             decode it",
            token.content
        )));
    }
    let pieces = vocabulary(folder.path, VOCAB)?;
    let merges = merges(folder.path)?;
    let unk = names.required("unk_token")?;
    let unknown = pieces.get(unk).and_then(Value::as_u64);
    let unknown = unknown.ok_or_else(|| wrong(format!("lacks the unknown token '{unk}'")))?;
    let from = pieces.values().filter_map(Value::as_u64).max().unwrap_or(0) + 1;

    let mut vocab = Map::new();
    for (piece, id) in pieces {
        let symbol = match piece.strip_suffix(GOES_ON) {
            _ if added.iter().any(|token| token.content == piece) => piece,
            Some(symbol) if !symbol.is_empty() => symbol.to_owned(),
            _ => piece + ENDS,
        };
        vocab.insert(symbol, id);
    }
    let surplus = add_symbols_of_merges(&mut vocab, &merges, from, unknown);
    Ok(Parts {
        normalizer: normalizer(),
        pre_tokenizer: json!({"type": "Split", "pattern": {"Regex": BLANK}, "behavior": "Removed",
                              "invert": false}),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": unk,
            "continuing_subword_prefix": null, "end_of_word_suffix": ENDS,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges,
        }),
        decoder: decoder(),
        post_processor: PostProcessor::after(&[]),
        added,
        surplus,
    })
}

/// Separates words from `.,!?()` before them and from `'` on both sides, makes a line end a word
/// (unless it follows `'`), and lowercases.
fn normalizer() -> Value {
    let string = |text: &str| json!({"String": text});
    let line_end = json!({"Regex": r"(?<=[^\s\x1c-\x1f'])\n"});
    let mut steps = vec![replace(line_end, " __newln__ ")];
    steps.extend(
        [".", ",", "!", "?", "(", ")"].map(|mark| replace(string(mark), &format!(" {mark}"))),
    );
    steps.push(replace(string("'"), " ' "));
    steps.push(json!({"type": "Lowercase"}));
    json!({"type": "Sequence", "normalizers": steps})
}

/// Joins words with spaces. `@@` marks a text that ends within a word.
fn decoder() -> Value {
    json!({"type": "Sequence", "decoders": [
        {"type": "Fuse"},
        replace(json!({"Regex": format!(r"(?<!{ENDS})\z")}), GOES_ON),
        replace(json!({"String": ENDS}), " "),
        replace(json!({"Regex": format!("^{BLANK}|{BLANK}$")}), ""),
    ]})
}

fn wrong(problem: String) -> Error {
    Error::Tokenizer { file: VOCAB.into(), problem }
}
