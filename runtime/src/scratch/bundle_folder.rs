//! Temporary folders for bundles. A folder is removed when its owner is dropped, or by the next
//! process if its process was killed.

use std::fs::{self, File};
use std::io::{ErrorKind, Result};
use std::path::{Path, PathBuf};

use super::Folder;

/// Prefix of the folders' names.
const PREFIX: &str = "epitome-model-";
/// A file that the folder's process holds locked.
const LOCK: &str = "lock";

/// A temporary folder for a bundle of this process.
#[derive(Debug)]
pub struct BundleFolder {
    folder: Folder,
    /// The system releases the lock when the process ends.
    _lock: File,
}

impl BundleFolder {
    /// Creates a folder in the system's folder of temporary files.
    ///
    /// # Errors
    ///
    /// The system cannot create a folder there.
    pub fn new() -> Result<Self> {
        let folder = Folder::new(PREFIX)?;
        // The file is renamed after it is locked, so that the folder never seems abandoned.
        let unnamed = folder.path().join("unlocked");
        let lock = File::create(&unnamed)?;
        lock.try_lock()?;
        fs::rename(&unnamed, folder.path().join(LOCK))?;
        Ok(Self { folder, _lock: lock })
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes the folders of processes that ended without removing them. Returns their paths, and
    /// whether they were removed.
    pub fn remove_abandoned() -> Vec<(PathBuf, Result<()>)> {
        let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
            return Vec::new();
        };
        let is_ours = |entry: &fs::DirEntry| {
            entry.file_name().to_string_lossy().starts_with(PREFIX)
                && entry.file_type().is_ok_and(|kind| kind.is_dir())
        };
        let folders = entries.flatten().filter(is_ours).map(|entry| entry.path());
        folders
            .filter_map(|folder| remove_if_abandoned(&folder).map(|gone| (folder, gone)))
            .collect()
    }
}

/// Removes the folder if its process has ended. Returns none if its process may still run.
fn remove_if_abandoned(folder: &Path) -> Option<Result<()>> {
    // The lock of another user's folder cannot be opened.
    let lock = File::options().write(true).open(folder.join(LOCK)).ok()?;
    lock.try_lock().ok()?;
    match remove(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Some(Err(error)),
        _ => Some(Ok(())),
    }
}

/// Removes a folder. The lock is removed last, so that the next process continues if this one ends.
fn remove(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)?.flatten().filter(|entry| entry.file_name() != LOCK) {
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    fs::remove_dir_all(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_folders_are_removed() {
        let held = BundleFolder::new().unwrap();
        let abandoned = BundleFolder::new().unwrap();
        fs::write(abandoned.path().join("weights.bin"), "1").unwrap();
        // The system does the same when the process is killed.
        let BundleFolder { folder, _lock } = abandoned;
        drop(_lock);
        let path = folder.path().to_owned();
        std::mem::forget(folder);
        BundleFolder::remove_abandoned();
        assert!(held.path().is_dir());
        assert!(!path.exists());
    }
}
