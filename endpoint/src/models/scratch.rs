//! Folders for bundles that were made for this process. They are removed with their model; those of
//! a process that was killed, by the next one.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use epitome_runtime::scratch::Folder;

/// Names of such folders in the temporary folder begin so.
const PREFIX: &str = "epitome-model-";
/// Held locked by the process that the folder belongs to.
const LOCK: &str = "lock";

/// A temporary folder of this process.
#[derive(Debug)]
pub struct Scratch {
    folder: Folder,
    /// The system releases the lock when the process ends, however it ends.
    _lock: File,
}

impl Scratch {
    /// A new folder.
    ///
    /// # Errors
    /// Where the temporary folder cannot be written.
    pub fn new() -> io::Result<Self> {
        let folder = Folder::new(PREFIX)?;
        // It gets its name once it is locked, so that nobody takes the folder for an abandoned one.
        let unnamed = folder.path().join("unlocked");
        let lock = File::create(&unnamed)?;
        lock.try_lock()?;
        fs::rename(&unnamed, folder.path().join(LOCK))?;
        Ok(Self { folder, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes the folders of processes that ended without removing them.
    pub fn remove_abandoned() {
        let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
            return;
        };
        for entry in entries.flatten() {
            let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
            if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_if_abandoned(&entry.path());
            }
        }
    }
}

fn remove_if_abandoned(folder: &Path) {
    // Of other users' folders neither the lock nor the files can be opened.
    let Ok(lock) = File::options().write(true).open(folder.join(LOCK)) else {
        return;
    };
    match lock.try_lock() {
        Ok(()) => match fs::remove_dir_all(folder) {
            Ok(()) => {
                tracing::info!(folder = %folder.display(), "removed what a killed process left");
            }
            Err(error) => tracing::warn!(folder = %folder.display(), %error, "cannot be removed"),
        },
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_folders_are_removed() {
        let held = Scratch::new().unwrap();
        let abandoned = Scratch::new().unwrap();
        fs::write(abandoned.path().join("weights.bin"), "1").unwrap();
        // As the system does when the process is killed.
        let Scratch { folder, _lock } = abandoned;
        drop(_lock);
        let path = folder.path().to_owned();
        std::mem::forget(folder);
        Scratch::remove_abandoned();
        assert!(held.path().is_dir());
        assert!(!path.exists());
    }
}
