//! Documents to calibrate an export with.

use std::path::Path;

use anyhow::Result;
use epitome_export::Calibration;
use epitome_runtime::bundle::CalibrationRecord;

use crate::failure;
use crate::inputs::{self, Found, Reader};

/// Default number of documents to read. More documents change the result little.
pub(crate) const LIMIT: usize = 256;

/// Reads the first `limit` documents as `epitome summarize` does, and the text of a table from this
/// column. Skips files of a folder that cannot be read.
pub(crate) fn read(path: &Path, text_column: Option<&str>, limit: usize) -> Result<Calibration> {
    let reader = Reader::new(text_column)?;
    let mut texts = Vec::new();
    for input in inputs::expand(&[path.to_owned()], None)? {
        match reader.read(&input) {
            Ok(Found::Documents(documents)) => {
                let found = documents.iter().map(|document| document.text.text().to_owned());
                texts.extend(found.filter(|text| !text.trim().is_empty()));
            }
            Ok(Found::NoDocument) => {}
            Err(error) if input.is_found => {
                eprintln!("epitome: note: passed over a file: {}", failure::sentence(&error));
            }
            Err(error) => return Err(error),
        }
        if texts.len() >= limit {
            break;
        }
    }
    texts.truncate(limit);
    let name = path.file_name().unwrap_or(path.as_os_str());
    Ok(Calibration { name: name.to_string_lossy().into_owned(), texts })
}

/// Describes the documents that a bundle was calibrated with; follows the word "calibrated".
pub(crate) fn shown(record: &CalibrationRecord) -> String {
    let CalibrationRecord { documents, name, .. } = record;
    let plural = if *documents == 1 { "" } else { "s" };
    format!("with {documents} document{plural} of {name}")
}
