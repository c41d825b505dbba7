//! The checkpoint's own files beside the graphs: what makes the folder load as a model of
//! transformers.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::tokenizer;

/// Configuration, as far as the checkpoint has it.
const FILES: [&str; 2] = ["config.json", "generation_config.json"];

/// The tokenizer, but for its vocabulary.
const TOKENIZER_FILES: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

/// Copies what the checkpoint has; gives the names.
pub(crate) fn copy(model: &Path, tokenizer: &Path, to: &Path) -> Result<Vec<&'static str>> {
    let files = FILES.into_iter().map(|name| (model, name));
    let vocabularies = TOKENIZER_FILES.into_iter().chain(tokenizer::VOCABULARIES);
    let files = files.chain(vocabularies.map(|name| (tokenizer, name)));
    let present = files.filter(|(from, name)| from.join(name).is_file());
    present
        .map(|(from, name)| {
            // Not `fs::copy`, which would take a read-only mode along.
            let (from, to) = (from.join(name), to.join(name));
            let bytes = fs::read(&from).map_err(|source| Error::io(&from, source))?;
            fs::write(&to, bytes).map_err(|source| Error::io(&to, source))?;
            Ok(name)
        })
        .collect()
}
