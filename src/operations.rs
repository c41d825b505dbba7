//! The work of the commands for other programs, with errors and progress in place of a terminal.

use std::path::{Path, PathBuf};

#[cfg(feature = "hub")]
use anyhow::Context as _;
#[cfg(feature = "hub")]
use epitome_export::hub_cache::ModelId;
use epitome_export::{Calibration, ExportOptions};
use epitome_runtime::bundle::Manifest;
#[cfg(feature = "hub")]
use epitome_runtime::bundle::Precision;
use epitome_runtime::{LongDocument, Progress};

#[cfg(feature = "hub")]
use crate::commands::pull::{self, Wanted};
use crate::failure::{self, Usage};
use crate::inputs::{Found, Input, Reader};
use crate::{calibrating, exporting, model_choice};

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

/// The path of the named model: an existing path, or else a bundle of the store. A name of a model
/// of the hub is pulled to the store in int8, unless it is there.
///
/// # Errors
///
/// There is no such model, or it cannot be pulled.
pub fn locate(model: &Path, progress: &dyn Progress) -> Result<PathBuf, Failure> {
    #[cfg(not(feature = "hub"))]
    let _ = progress;
    let located = || {
        #[cfg(feature = "hub")]
        if let Some(id) = model_choice::id_of_hub(model) {
            let name = Path::new(id.name());
            if epitome_hub::Store::from_env()?.find(id.name())?.is_none() {
                let problem = || format!("there is no folder '{}'", model.display());
                let wanted = Wanted { precision: Precision::Int8, base: None, verify: true };
                pull_to_store(&id, id.name(), &wanted, progress).with_context(problem)?;
            }
            return model_choice::locate(name);
        }
        model_choice::locate(model)
    };
    Ok(located()?)
}

/// Reads the document in a file, as `epitome summarize` does.
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

/// Reads the first `limit` documents of a file or a folder to calibrate an export with, as `epitome
/// export --calibrate` does.
///
/// # Errors
///
/// The file cannot be read, or is standard input.
pub fn read_calibration(
    path: &Path,
    text_column: Option<&str>,
    limit: usize,
) -> Result<Calibration, Failure> {
    let read = || {
        if Input::named(path).is_standard_input() {
            anyhow::bail!(Usage(
                "'-' is standard input, which only commands read: give a file, a folder or a list \
                 of texts"
                    .into()
            ));
        }
        calibrating::read(path, text_column, limit)
    };
    Ok(read()?)
}

/// Exports as `epitome export` does, from and to paths and addresses.
///
/// # Errors
///
/// If the source is wrong or the output cannot be written. No partial output is left behind.
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
/// If the model cannot be fetched, exported or stored.
#[cfg(feature = "hub")]
pub fn pull(
    id: &str,
    name: Option<&str>,
    base: Option<String>,
    precision: Precision,
    verify: bool,
    progress: &dyn Progress,
) -> Result<String, Failure> {
    let id = crate::locations::hub_id(id)?;
    let name = name.unwrap_or(id.name());
    pull_to_store(&id, name, &Wanted { precision, base, verify }, progress)?;
    Ok(name.to_owned())
}

#[cfg(feature = "hub")]
fn pull_to_store(
    id: &ModelId,
    name: &str,
    wanted: &Wanted,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    pull::pull(&epitome_hub::Store::from_env()?, name, id, wanted, None, progress)?;
    Ok(())
}
