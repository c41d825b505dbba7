//! Temporary folders and files: they vanish with their owner, or with the process where a signal
//! ends it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{NamedTempFile, TempDir};

/// What is there now.
static HELD: Held = Held(Mutex::new(BTreeSet::new()));

/// Removes all that is there. For a handler of signals, right before it ends the process: owners do
/// not get to it then.
pub fn remove_all() {
    HELD.remove_all();
}

/// A temporary folder.
#[derive(Debug)]
pub struct Folder {
    folder: TempDir,
    _hold: Hold,
}

impl Folder {
    /// A new folder in `parent`, whose name begins with `prefix`.
    ///
    /// # Errors
    ///
    /// Why the system makes no folder there.
    pub fn new_in(parent: &Path, prefix: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
        let hold = Hold::new(folder.path());
        Ok(Self { folder, _hold: hold })
    }

    /// A new folder in the system's folder of temporary files.
    ///
    /// # Errors
    ///
    /// As [`Folder::new_in`].
    pub fn new(prefix: &str) -> Result<Self> {
        Self::new_in(&std::env::temp_dir(), prefix)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A temporary file.
#[derive(Debug)]
pub struct File {
    file: NamedTempFile,
    _hold: Hold,
}

impl File {
    /// A new file in `parent`, whose name begins with `prefix`. Its permissions are those of any
    /// new file.
    ///
    /// # Errors
    ///
    /// Why the system makes no file there.
    pub fn new_in(parent: &Path, prefix: &str) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(prefix);
        // A temporary file is private otherwise. The system takes away what the umask forbids.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(parent)?;
        let hold = Hold::new(file.path());
        Ok(Self { file, _hold: hold })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The open file.
    pub fn as_file_mut(&mut self) -> &mut fs::File {
        self.file.as_file_mut()
    }

    /// Gives it the name `path`, for good; a file there is replaced.
    ///
    /// # Errors
    ///
    /// Why the system refuses; the temporary file is gone then.
    pub fn persist(self, path: &Path) -> Result<()> {
        self.file.persist(path)?;
        Ok(())
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}

/// Has a file or folder removed where a signal ends the process, for as long as this lives.
#[derive(Debug)]
pub struct Hold(PathBuf);

impl Hold {
    /// For this path.
    pub fn new(path: &Path) -> Self {
        // The current folder may be another one later.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        HELD.set().insert(path.clone());
        Self(path)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        HELD.set().remove(&self.0);
    }
}

/// Paths that are to be removed.
struct Held(Mutex<BTreeSet<PathBuf>>);

impl Held {
    fn set(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove_all(&self) {
        /// Another thread may write a file into a folder while it is removed.
        const ATTEMPTS: usize = 5;
        for path in &*self.set() {
            let remove = || match path.is_dir() {
                true => fs::remove_dir_all(path),
                false => fs::remove_file(path),
            };
            let _ = (0..ATTEMPTS).any(|_| remove().is_ok() || !path.exists());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_files_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let [folder, file, gone] = ["folder", "file", "gone"].map(|name| root.path().join(name));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("weights.bin"), "1").unwrap();
        fs::write(&file, "1").unwrap();
        fs::write(root.path().join("mine"), "1").unwrap();
        Held(Mutex::new([folder, file, gone].into())).remove_all();
        let left: Vec<_> = fs::read_dir(root.path()).unwrap().map(Result::unwrap).collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn what_its_owner_removed_is_held_no_longer() {
        let folder = Folder::new("epitome-").unwrap();
        let path = folder.path().to_owned();
        assert!(path.is_dir() && HELD.set().contains(&path));
        drop(folder);
        assert!(!path.exists() && !HELD.set().contains(&path));
    }
}
