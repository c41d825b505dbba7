//! Documents to calibrate an export with.

use std::path::Path;

use anyhow::Result;
use epitome_export::Calibration;

use crate::inputs::{self, Found, Reader};

/// Documents that are read where nobody says how many: more of them change little.
pub(crate) const LIMIT: usize = 256;

/// Reads documents as `epitome summarize` does, at most `limit`, and the text of a table in this
/// column.
pub(crate) fn read(path: &Path, text_column: Option<&str>, limit: usize) -> Result<Calibration> {
    let reader = Reader::new(text_column)?;
    let mut texts = Vec::new();
    for input in inputs::expand(&[path.to_owned()], None)? {
        if let Found::Documents(documents) = reader.read(&input)? {
            let found = documents.iter().map(|document| document.text.text().to_owned());
            texts.extend(found.filter(|text| !text.trim().is_empty()));
        }
        if texts.len() >= limit {
            break;
        }
    }
    texts.truncate(limit);
    let name = path.file_name().unwrap_or(path.as_os_str());
    Ok(Calibration { name: name.to_string_lossy().into_owned(), texts })
}
