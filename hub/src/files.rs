//! Files that are there whole or not at all.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a file beside, and puts it in its place when it is whole. The folder is made where it is
/// not there; `variable` is what names the folder of all.
pub(crate) fn write(path: &Path, bytes: &[u8], variable: &'static str) -> Result<()> {
    let io = |error| Error::io_in(path, error, variable);
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io)?;
    let mut builder = tempfile::Builder::new();
    // As any file: others may share the cache.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.persist(path).map(drop).map_err(|error| io(error.error))
}
