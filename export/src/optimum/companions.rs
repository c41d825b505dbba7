//! The checkpoint's own files beside the graphs: what makes the folder load as a model of
//! transformers.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::tokenizer;

/// Configuration and tokenizer, as far as the checkpoint has them.
const FILES: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// Copies what the checkpoint has; gives the names.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<Vec<&'static str>> {
    let files = FILES.into_iter().chain(tokenizer::VOCABULARIES);
    let present = files.filter(|name| from.join(name).is_file());
    present
        .map(|name| {
            // Not `fs::copy`, which would take a read-only mode along.
            let (from, to) = (from.join(name), to.join(name));
            let bytes = fs::read(&from).map_err(|source| Error::io(&from, source))?;
            fs::write(&to, bytes).map_err(|source| Error::io(&to, source))?;
            Ok(name)
        })
        .collect()
}
