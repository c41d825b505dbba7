//! Files that are written atomically: they appear complete or not at all.

use std::io::{Result, Write};
use std::path::Path;

use crate::scratch::File;

/// Creates a temporary file in the folder of `path`, which must exist. [`File::persist`] moves the
/// complete file to `path`.
///
/// # Errors
///
/// The system cannot create a file there.
pub fn create(path: &Path) -> Result<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::to_keep_in(folder.unwrap_or(Path::new(".")), ".epitome-")
}

/// Writes `bytes` to a temporary file and moves it to `path`.
///
/// # Errors
///
/// The system cannot write or move the file. A file at `path` then stays as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = create(path)?;
    file.write_all(bytes)?;
    file.persist(path)
}
