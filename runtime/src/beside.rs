//! Files that are there whole or not at all.

use std::io::{Result, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// A new file in the folder of `path`, which must be there. Its permissions are those of any new
/// file. Written whole, it is put in place with [`NamedTempFile::persist`].
///
/// # Errors
///
/// Why the system makes no file there.
pub fn create(path: &Path) -> Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.prefix(".epitome-");
    // A temporary file is private otherwise. The system takes away what the user's umask forbids.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder.unwrap_or(Path::new(".")))
}

/// Writes a file beside `path`, and puts it in place when it is whole.
///
/// # Errors
///
/// Why the system refuses; what was at `path` then stays.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = create(path)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}
