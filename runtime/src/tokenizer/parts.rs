//! The parts of a tokenizer, each from what the `tokenizers` library writes in `tokenizer.json`;
//! null is no part.
//!
//! The library reads them by generic code, which a compiler translates for every crate that calls
//! it, and for every source of JSON. It takes long: here it is done once.
//!
//! # Errors
//!
//! A sentence that says what is wrong.

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::{ModelWrapper, PostProcessorWrapper, PreTokenizerWrapper};

use super::charsmap::CharsMap;
use super::pipeline::{TextDecoder, TextNormalizer};

/// Words to tokens.
pub fn model(value: Value) -> Result<ModelWrapper, String> {
    read("model", value)
}

/// Text to text.
pub fn normalizer(value: Value) -> Result<Option<TextNormalizer>, String> {
    match value["type"].as_str() {
        Some("SentencePiece") => {
            read("normalizer", value).map(TextNormalizer::SentencePiece).map(Some)
        }
        Some("Moses") => read("normalizer", value).map(TextNormalizer::Moses).map(Some),
        _ => {
            check_charsmaps(&value)?;
            let normalizer: Option<_> = read("normalizer", value)?;
            Ok(normalizer.map(TextNormalizer::Library))
        }
    }
}

/// Text to words.
pub fn pre_tokenizer(value: Value) -> Result<Option<PreTokenizerWrapper>, String> {
    read("pre_tokenizer", value)
}

/// What is put around the tokens.
pub fn post_processor(value: Value) -> Result<Option<PostProcessorWrapper>, String> {
    read("post_processor", value)
}

/// Tokens to text.
pub fn decoder(value: Value) -> Result<Option<TextDecoder>, String> {
    match value["type"].as_str() {
        Some("Moses") => read("decoder", value).map(TextDecoder::Moses).map(Some),
        _ => {
            let decoder: Option<_> = read("decoder", value)?;
            Ok(decoder.map(TextDecoder::Library))
        }
    }
}

fn read<T: DeserializeOwned>(part: &str, value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("its {part} cannot be read: {error}"))
}

/// Checks the tables of a normalizer and of those inside it: the library panics at a damaged one.
fn check_charsmaps(normalizer: &Value) -> Result<(), String> {
    if normalizer["type"] == "Precompiled" {
        let Some(text) = normalizer["precompiled_charsmap"].as_str() else {
            return Err("a Precompiled normalizer lacks its precompiled_charsmap".into());
        };
        CharsMap::from_base64(text)?;
    }
    let inner = normalizer["normalizers"].as_array();
    inner.into_iter().flatten().try_for_each(check_charsmaps)
}
