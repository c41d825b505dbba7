//! Folders for bundles that were made for this process. They are removed with their model; those of
//! a process that was killed, by the next one.

use std::fs::{self, File};
use std::io::{ErrorKind, Result};
use std::path::{Path, PathBuf};

use super::Folder;

/// Names of such folders in the temporary folder begin so.
const PREFIX: &str = "epitome-model-";
/// Held locked by the process that the folder belongs to.
const LOCK: &str = "lock";

/// A temporary folder for a bundle of this process.
#[derive(Debug)]
pub struct BundleFolder {
    folder: Folder,
    /// The system releases the lock when the process ends, however it ends.
    _lock: File,
}

impl BundleFolder {
    /// A new folder.
    ///
    /// # Errors
    ///
    /// Where the temporary folder cannot be written.
    pub fn new() -> Result<Self> {
        let folder = Folder::new(PREFIX)?;
        // It gets its name once it is locked, so that nobody takes the folder for an abandoned one.
        let unnamed = folder.path().join("unlocked");
        let lock = File::create(&unnamed)?;
        lock.try_lock()?;
        fs::rename(&unnamed, folder.path().join(LOCK))?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes the folders of processes that ended without removing them. Gives each, and whether
    /// it is gone.
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

/// Whether the folder is gone; none where its process may live.
fn remove_if_abandoned(folder: &Path) -> Option<Result<()>> {
    // Of other users' folders neither the lock nor the files can be opened.
    let lock = File::options().write(true).open(folder.join(LOCK)).ok()?;
    lock.try_lock().ok()?;
    match remove(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Some(Err(error)),
        _ => Some(Ok(())),
    }
}

/// Removes a folder, its lock last: where this process ends meanwhile, the next one goes on.
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
        // As the system does when the process is killed.
        let BundleFolder { folder, _lock } = abandoned;
        drop(_lock);
        let path = folder.path().to_owned();
        std::mem::forget(folder);
        BundleFolder::remove_abandoned();
        assert!(held.path().is_dir());
        assert!(!path.exists());
    }
}
