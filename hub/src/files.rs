//! Small files of the store and the cache.

use std::fs;
use std::path::Path;

use epitome_runtime::beside;

use crate::error::{Error, Result};

/// Writes a file beside, and puts it in its place when it is whole. The folder is made where it is
/// not there; `variable` is what names the folder of all.
pub(crate) fn write(path: &Path, bytes: &[u8], variable: &'static str) -> Result<()> {
    let io = |error| Error::io_in(path, error, variable);
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io)?;
    beside::replace(path, bytes).map_err(io)
}
