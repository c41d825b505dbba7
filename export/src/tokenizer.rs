//! The checkpoint's tokenizer, as the bundle keeps it.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tokenizers::Tokenizer;

use crate::error::{Error, Result};

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// `model_max_length` of a tokenizer that sets no limit is a huge number (1e30); no model reads more
/// tokens than this.
const NO_LIMIT: f64 = 1e9;

/// Writes the tokenizer of the checkpoint in `from` to the file `to`, without the truncation and
/// padding that a training run may have left in it.
pub(crate) fn convert(from: &Path, to: &Path, vocab_size: usize) -> Result<()> {
    let path = from.join(TOKENIZER);
    if !path.is_file() {
        let found = ["spiece.model", "sentencepiece.bpe.model", "vocab.json"]
            .into_iter()
            .find(|name| from.join(name).is_file());
        let problem = match found {
            Some(name) => format!(
                "is missing, and {name} alone is not read yet: save the tokenizer with \
                 AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            ),
            None => "is missing: the checkpoint has no tokenizer".to_owned(),
        };
        return Err(Error::Json {
            file: TOKENIZER.into(),
            problem,
        });
    }
    let wrong = |problem: String| Error::Json {
        file: TOKENIZER.into(),
        problem,
    };
    let mut tokenizer = Tokenizer::from_file(&path)
        .map_err(|error| wrong(format!("is not a tokenizer: {error}")))?;
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| wrong(error.to_string()))?;
    // Added pieces beyond the model's table would read past it.
    let pieces = tokenizer.get_vocab_size(false);
    if pieces > vocab_size {
        return Err(wrong(format!(
            "has {pieces} pieces and config.json's vocab_size is {vocab_size}: they are not of one model"
        )));
    }
    let text = tokenizer
        .to_string(false)
        .map_err(|error| wrong(error.to_string()))?;
    fs::write(to, text).map_err(|source| Error::io(to, source))
}

/// Most tokens of a source: what the tokenizer's own configuration says, within what the model's
/// position table holds.
pub(crate) fn max_source_tokens(from: &Path, positions: usize) -> usize {
    let limit = fs::read(from.join(TOKENIZER_CONFIG))
        .ok()
        .and_then(|text| serde_json::from_slice::<Value>(&text).ok())
        .and_then(|config| config.get("model_max_length")?.as_f64())
        .filter(|limit| (2.0..NO_LIMIT).contains(limit));
    limit.map_or(positions, |limit| positions.min(limit as usize))
}
