//! Reads each part of a tokenizer from its JSON in `tokenizer.json`. A part that is null is absent.
//!
//! The library's readers are generic and take long to compile. Other crates call these functions,
//! so that the readers are compiled once.
//!
//! # Errors
//!
//! A sentence that says what is wrong.

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::{ModelWrapper, PostProcessorWrapper, PreTokenizerWrapper};

use super::charsmap::CharsMap;
use super::wrappers::{TextDecoder, TextNormalizer};

/// The model: it maps words to tokens.
pub fn model(value: Value) -> Result<ModelWrapper, String> {
    read("model", value)
}

/// The normalizer: it maps text to text.
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

/// The pre-tokenizer: it splits text into words.
pub fn pre_tokenizer(value: Value) -> Result<Option<PreTokenizerWrapper>, String> {
    read("pre_tokenizer", value)
}

/// The post-processor: it adds special tokens.
pub fn post_processor(value: Value) -> Result<Option<PostProcessorWrapper>, String> {
    read("post_processor", value)
}

/// The decoder: it maps tokens to text.
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

/// Checks the tables of a normalizer and of its nested normalizers: the library panics at a damaged
/// one.
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
