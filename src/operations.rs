//! What other programs offer of the command line beside [`main`](crate::main): the same work with
//! errors and progress in place of a terminal.

use std::path::{Path, PathBuf};

use epitome_export::ExportOptions;
use epitome_runtime::LongDocument;
use epitome_runtime::bundle::Manifest;

use crate::failure::{self, Usage};
use crate::inputs::{Found, Input, Reader};
use crate::{exporting, model_choice};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct Failure {
    sentence: String,
    /// Whether the user asked to stop.
    pub is_interrupted: bool,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self {
            sentence: failure::sentence(&error),
            is_interrupted: failure::code(&error) == failure::INTERRUPTED,
        }
    }
}

/// Where the model of this name lies: a path that is there, or else a bundle of the store.
///
/// # Errors
///
/// There is no such model.
pub fn locate(model: &Path) -> Result<PathBuf, Failure> {
    Ok(model_choice::locate(model)?)
}

/// The document in a file, as `epitome summarize` reads it.
///
/// # Errors
///
/// The file cannot be read, or holds another number of documents.
pub fn read_document(path: &Path) -> Result<LongDocument<'static>, Failure> {
    let read = || {
        let found = Reader::new(None)?.read(&Input::named(path))?;
        let Found::Documents(documents) = found else {
            anyhow::bail!(Usage(format!("'{}' has no text", path.display())));
        };
        let count = documents.len();
        match documents.into_iter().next() {
            Some(document) if count == 1 => anyhow::Ok(document.text),
            _ => anyhow::bail!(Usage(format!(
                "'{}' holds {count} documents: give a file that holds one",
                path.display()
            ))),
        }
    };
    Ok(read()?)
}

/// Exports as `epitome export` does, from and to paths and addresses.
///
/// # Errors
///
/// What is wrong with the source, or what could not be written; nothing is left behind.
pub fn export(
    source: &Path,
    base: Option<&Path>,
    output: &Path,
    options: ExportOptions<'_>,
) -> Result<Manifest, Failure> {
    Ok(exporting::export_quietly(source, base, output, options)?)
}

/// Fetches a model of the hub into the store as `epitome pull` does, and returns its name there.
///
/// # Errors
///
/// Why it cannot be fetched, exported or kept.
#[cfg(feature = "hub")]
pub fn pull(
    id: &str,
    name: Option<&str>,
    base: Option<String>,
    precision: epitome_runtime::bundle::Precision,
    verify: bool,
    progress: &dyn epitome_runtime::Progress,
) -> Result<String, Failure> {
    use crate::commands::pull::{Wanted, pull};

    let pulled = || {
        let id = crate::locations::hub_id(id)?;
        let store = epitome_hub::Store::from_env()?;
        let name = name.unwrap_or(id.name());
        pull(&store, name, &id, &Wanted { precision, base, verify }, None, progress)?;
        anyhow::Ok(name.to_owned())
    };
    Ok(pulled()?)
}
