//! A folder on a server.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use epitome_runtime::Progress;

use super::digest::FolderDigest;
use super::select::Folders;
use crate::{Error, Result};

/// A folder on a server, with its files.
pub trait RemoteFolder {
    /// Name of the folder for messages and the manifest.
    fn path(&self) -> &Path;

    /// Sizes in bytes of all files below the folder, by path with `/` between its parts.
    fn files(&self) -> &BTreeMap<String, u64>;

    /// Opens a file: its size and a reader.
    ///
    /// The reader reports to `progress`. If it has an error of its own, that is inside an
    /// [`io::Error`] of kind [`io::ErrorKind::Other`].
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    fn open<'a>(
        &'a self,
        file: &str,
        progress: &'a dyn Progress,
    ) -> Result<(u64, Box<dyn Read + 'a>)>;
}

/// File names of each folder that is not too deep and not hidden.
pub(super) fn folders(files: &BTreeMap<String, u64>, max_depth: usize) -> Folders {
    let mut folders = Folders::new();
    for path in files.keys() {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut parts = folder.split('/').filter(|_| !folder.is_empty());
        let hidden = parts.clone().any(|part| part.starts_with('.') || part.is_empty());
        if !hidden && parts.nth(max_depth).is_none() && !name.is_empty() {
            let names = folders.entry(folder.to_owned()).or_default();
            names.insert(name.to_owned());
        }
    }
    folders
}

/// Writes the bytes to a file, and adds them to the digest.
pub(super) fn write(mut from: impl Read, path: &Path, digest: &mut FolderDigest) -> Result<()> {
    let io = |error| Error::io(path, error);
    let mut file = File::create(path).map_err(io)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::of_stream(path, error)),
        };
        digest.update(&buffer[..count]);
        file.write_all(&buffer[..count]).map_err(io)?;
    }
}
