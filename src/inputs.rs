//! Reading the documents that the command line names.

use std::fs;
use std::io::{ErrorKind, Read, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::failure::Usage;

/// A text, and where it came from.
pub(crate) struct Document {
    /// The path as it was given, or `-`.
    pub(crate) source: String,
    /// Its text.
    pub(crate) text: String,
}

impl AsRef<str> for Document {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

/// Reads every file; `-`, or no name at all, is standard input.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Document>> {
    let standard_input = [PathBuf::from("-")];
    let paths = if paths.is_empty() { &standard_input } else { paths };
    if paths.iter().filter(|path| is_standard_input(path)).count() > 1 {
        bail!(Usage("standard input, '-', was given more than once".into()));
    }
    paths.iter().map(|path| read_one(path)).collect()
}

fn read_one(path: &Path) -> Result<Document> {
    let source = path.display().to_string();
    let bytes = if is_standard_input(path) {
        let mut bytes = Vec::new();
        stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
        bytes
    } else {
        match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(Usage(format!(
                "'{source}' does not exist: give a text file, or '-' for standard input"
            ))),
            bytes => bytes.with_context(|| format!("cannot read '{source}'"))?,
        }
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!("'{source}' is not UTF-8 text: byte {at} starts no character")
    })?;
    // A byte order mark is no part of the text.
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    if text.trim().is_empty() {
        bail!("'{source}' is empty: give it some text to summarize");
    }
    Ok(Document { source, text })
}

fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}
