//! Writes files of the cache.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::files;

/// The variable that names the folder of the cache.
const VARIABLE: &str = "HF_HOME";

/// Writes a small file.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    files::write(path, text.as_bytes(), VARIABLE)
}

/// An error of the operating system.
pub(super) fn in_cache(path: &Path, error: io::Error) -> Error {
    Error::io_in(path, error, VARIABLE)
}
