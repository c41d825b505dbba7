//! A weights file that is mapped into memory.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::{Error, Result};

/// First words of the pointer file that replaces a large file in a Git clone without LFS.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec";

/// A mapped file, or values in memory.
pub(super) enum Mapped {
    /// A file.
    File(Mmap),
    /// Computed values.
    Memory(Vec<u8>),
}

impl Mapped {
    /// Maps the file at `path`. `name` is its name for messages.
    pub(super) fn open(path: &Path, name: &str) -> Result<Self> {
        let weights =
            |problem: &str| Error::Weights { file: name.to_owned(), problem: problem.to_owned() };
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        if file.metadata().map_err(|source| Error::io(path, source))?.len() == 0 {
            return Err(weights("is empty: fetch it again"));
        }
        // SAFETY: the mapping is read-only, and read only through a `&[u8]` that lives no longer
        // than it. That the bytes do not change meanwhile is an assumption about other processes
        // that no interface can check: an unpacked file is our own in a private temporary folder,
        // and one in a user's folder is not rewritten while it is being converted any more than a
        // source file while it is compiled. All values read are bounds-checked at each use and any
        // bit pattern is valid for them, so a change could give wrong numbers but no bad access;
        // cutting the file short would end the process by a signal.
        let map = unsafe { Mmap::map(&file) }.map_err(|source| Error::io(path, source))?;
        if map.starts_with(LFS_POINTER) {
            return Err(weights("is a Git LFS pointer, not the weights: run 'git lfs pull'"));
        }
        Ok(Self::File(map))
    }

    /// The contents of a file with these values.
    pub(super) fn of(values: &[f32]) -> Self {
        Self::Memory(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// The file's contents.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::File(map) => map,
            Self::Memory(bytes) => bytes,
        }
    }
}
