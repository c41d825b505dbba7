//! Files that are there whole or not at all.

use std::io::{Result, Write};
use std::path::Path;

use crate::scratch::File;

/// A new file in the folder of `path`, which must be there. Written whole, it is put in place with
/// [`File::persist`].
///
/// # Errors
///
/// Why the system makes no file there.
pub fn create(path: &Path) -> Result<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::to_keep_in(folder.unwrap_or(Path::new(".")), ".epitome-")
}

/// Writes a file beside `path`, and puts it in place when it is whole.
///
/// # Errors
///
/// Why the system refuses; what was at `path` then stays.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = create(path)?;
    file.write_all(bytes)?;
    file.persist(path)
}
