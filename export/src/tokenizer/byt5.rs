//! ByT5: the bytes of UTF-8, without a vocabulary file.
//!
//! Agrees with `ByT5Tokenizer` (`models/byt5/tokenization_byt5.py`) of transformers 4.57 and 5.24.
//! The id of a byte is the byte plus 3. Bytes that are not valid UTF-8 are left out of decoded
//! text.

use serde_json::{Map, Value, json};
use tokenizers::AddedToken;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::class::{Class, CleanUpSpaces, Folder, Json, replace};
use super::settings::special;
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens};
use crate::error::{Error, Result};

pub(super) const BYT5: Class = Class {
    names: &["ByT5Tokenizer"],
    files: &[],
    convert,
    json: Json::Ignored,
    clean_up_spaces: CleanUpSpaces::IfSet,
    end_token_once: true,
};

/// Default number of sentinels.
const SENTINELS: usize = 125;
/// Number of special tokens before the bytes.
const OFFSET: usize = 3;

fn convert(folder: &Folder<'_>) -> Result<Parts> {
    let settings = folder.settings;
    let stripped = |text| AddedToken { lstrip: true, rstrip: true, ..special(text) };
    let names = ["pad_token", "eos_token", "unk_token"];
    let texts = ["<pad>", "</s>", "<unk>"];
    let defaults: Vec<_> =
        names.into_iter().zip(texts).map(|(name, text)| (name, stripped(text))).collect();
    let tokens = SpecialTokens::new(settings, &defaults)?;
    let mut vocab = Map::new();
    for (id, name) in names.into_iter().enumerate() {
        vocab.insert(tokens.required(name)?.to_owned(), json!(id));
    }
    for (id, character) in bytes()?.into_iter().enumerate() {
        vocab.insert(character, json!(OFFSET + id));
    }
    let sentinels = settings.count("extra_ids", SENTINELS)?;
    let extra = settings.extra_tokens().filter(|extra| !extra.is_empty());
    let extra = extra
        .unwrap_or_else(|| (0..sentinels).map(|n| special(format!("<extra_id_{n}>"))).collect());
    for (place, token) in extra.iter().enumerate() {
        vocab.entry(token.content.clone()).or_insert(json!(OFFSET + 256 + place));
    }
    let eos = tokens.required("eos_token")?;
    Ok(Parts {
        normalizer: Value::Null,
        pre_tokenizer: json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                              "use_regex": true}),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": tokens.required("unk_token")?,
            "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": [],
        }),
        decoder: json!({"type": "Sequence", "decoders": [
            {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
             "use_regex": true},
            {"type": "Fuse"},
            replace(json!({"String": "\u{fffd}"}), ""),
        ]}),
        post_processor: PostProcessor::after(&[eos]),
        added: tokens.to_add(settings, Vec::new(), extra),
        surplus: None,
    })
}

/// The character of each byte in the vocabulary of a byte-level model.
fn bytes() -> Result<Vec<String>> {
    let mut characters: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    // Printable bytes are their own characters, the others are numbered from U+0100 on.
    characters.sort_unstable();
    let (own, others): (Vec<char>, Vec<char>) =
        characters.into_iter().partition(|character| u32::from(*character) < 0x100);
    let mut others = others.into_iter();
    (0..=u8::MAX)
        .map(|byte| match own.contains(&char::from(byte)) {
            true => Some(char::from(byte)),
            false => others.next(),
        })
        .map(|character| character.map(String::from))
        .collect::<Option<_>>()
        .ok_or_else(|| Error::Tokenizer {
            file: "tokenizer_config.json".into(),
            problem: "names a ByT5Tokenizer, whose bytes have no characters".into(),
        })
}
