//! Writes small files of the store and the cache.

use std::fs;
use std::path::Path;

use epitome_runtime::atomic_file;

use crate::error::{Error, Result};

/// Writes a file under a temporary name and renames it. Creates the folder. `variable` is the
/// environment variable of the top folder, for errors.
pub(crate) fn write(path: &Path, bytes: &[u8], variable: &'static str) -> Result<()> {
    let io = |error| Error::io_in(path, error, variable);
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io)?;
    atomic_file::replace(path, bytes).map_err(io)
}
