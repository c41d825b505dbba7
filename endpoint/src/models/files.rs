//! Detects changes of the files in a folder.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::path::Path;
use std::time::SystemTime;

/// Largest number of files that are compared. Models have far fewer.
const MAX_FILES: usize = 1000;

/// Snapshot of a folder: name, identity, size and time of each file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Files(Vec<(OsString, u64, u64, Option<SystemTime>)>);

impl Files {
    /// Takes a snapshot; it is empty if the folder cannot be read.
    pub(super) fn of(folder: &Path) -> Self {
        let Ok(entries) = fs::read_dir(folder) else {
            return Self(vec![(
                folder.into(),
                0,
                0,
                fs::metadata(folder).ok().and_then(|m| m.modified().ok()),
            )]);
        };
        let mut files: Vec<_> = entries
            .flatten()
            .take(MAX_FILES)
            // Follows links.
            .filter_map(|entry| Some((entry.file_name(), fs::metadata(entry.path()).ok()?)))
            .map(|(name, file)| (name, identity(&file), file.len(), file.modified().ok()))
            .collect();
        files.sort();
        Self(files)
    }
}

#[cfg(unix)]
fn identity(file: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    file.ino()
}

#[cfg(not(unix))]
fn identity(_file: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_a_new_and_a_removed_file_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let empty = Files::of(folder.path());
        fs::write(&file, "1").unwrap();
        let one = Files::of(folder.path());
        assert_ne!(empty, one);
        assert_eq!(one, Files::of(folder.path()));
        fs::write(&file, "12").unwrap();
        assert_ne!(one, Files::of(folder.path()));
        fs::remove_file(&file).unwrap();
        assert_eq!(empty, Files::of(folder.path()));
        drop(folder);
        assert_ne!(empty, Files::of(file.parent().unwrap()));
    }
}
