//! Copies files of the checkpoint beside the graphs, so that transformers can load the folder.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::tokenizer;

/// Configuration files.
const FILES: [&str; 2] = ["config.json", "generation_config.json"];

/// Tokenizer files, without the vocabulary.
const TOKENIZER_FILES: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

/// Copies the files that the checkpoint has, and returns their names.
pub(crate) fn copy(model: &Path, tokenizer: &Path, to: &Path) -> Result<Vec<&'static str>> {
    let files = FILES.into_iter().map(|name| (model, name));
    let vocabularies = TOKENIZER_FILES.into_iter().chain(tokenizer::VOCABULARIES);
    let files = files.chain(vocabularies.map(|name| (tokenizer, name)));
    let present = files.filter(|(from, name)| from.join(name).is_file());
    present
        .map(|(from, name)| {
            // `fs::copy` would keep a read-only mode.
            let (from, to) = (from.join(name), to.join(name));
            let bytes = fs::read(&from).map_err(|source| Error::io(&from, source))?;
            fs::write(&to, bytes).map_err(|source| Error::io(&to, source))?;
            Ok(name)
        })
        .collect()
}
