//! A folder that lies elsewhere, on a server.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use epitome_runtime::Progress;

use super::digest::FolderDigest;
use super::select::Folders;
use crate::{Error, Result};

/// A folder that lies elsewhere, with what is below it.
pub trait RemoteFolder {
    /// What messages and the manifest call it.
    fn path(&self) -> &Path;

    /// The size in bytes of each file below it, by its path there, with `/` between its parts.
    fn files(&self) -> &BTreeMap<String, u64>;

    /// The size and the bytes of a file below it.
    ///
    /// Reading tells `progress` how far it is. Where the reader has more to say than an
    /// [`io::Error`] can, its own error is inside one of the kind [`io::ErrorKind::Other`].
    ///
    /// # Errors
    ///
    /// Why the file cannot be opened.
    fn open<'a>(
        &'a self,
        file: &str,
        progress: &'a dyn Progress,
    ) -> Result<(u64, Box<dyn Read + 'a>)>;
}

/// The file names of each folder that is not too deep and not hidden.
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

/// Writes the bytes that arrive to a file, and adds them to the digest.
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
