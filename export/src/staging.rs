//! Writes an export to a temporary folder and renames it, so that the output is always complete.

use std::fs;
use std::path::{Path, PathBuf};

use epitome_runtime::scratch::{Hold, uninterrupted};

use crate::error::{Error, Result};

/// A folder beside the output, which becomes the output or is removed.
pub(crate) struct Staging {
    folder: PathBuf,
    output: PathBuf,
    /// Parents of the output that were created, the outermost first.
    made: Vec<PathBuf>,
    /// Lock of the folder; at the end, lock of the earlier export that it replaced.
    hold: Hold,
}

impl Staging {
    /// Creates the folder. The output may be absent, empty, or an earlier export (with a file
    /// `marker`), which is replaced only once the new one is complete.
    pub(crate) fn create(output: &Path, marker: &str) -> Result<Self> {
        let exists = output.symlink_metadata().is_ok();
        if output.file_name().is_none() || exists && !is_replaceable(output, marker) {
            return Err(Error::OutputExists { path: output.into() });
        }
        let mut made: Vec<_> = output
            .ancestors()
            .skip(1)
            .filter(|parent| !parent.as_os_str().is_empty() && !parent.exists())
            .map(Path::to_owned)
            .collect();
        made.reverse();
        if let Some(parent) = made.last() {
            fs::create_dir_all(parent).map_err(|source| Error::io(parent, source))?;
        }
        let folder = sibling(output, "partial");
        let hold = Hold::new(&folder);
        let staging = Self { folder, output: output.into(), made, hold };
        uninterrupted(|| -> Result<()> {
            let folder = &staging.folder;
            fs::create_dir(folder).map_err(|source| Error::io(folder, source))?;
            if exists {
                // Checks now that the output can be renamed: a mount point cannot.
                let aside = sibling(output, "replaced");
                rename(output, &aside)?;
                rename(&aside, output)?;
            }
            Ok(())
        })?;
        Ok(staging)
    }

    /// The folder to write into.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Moves the folder to the output's place.
    pub(crate) fn finish(mut self) -> Result<()> {
        let old = sibling(&self.output, "replaced");
        let exists = self.output.exists();
        self.hold.pass_on(|| -> Result<PathBuf> {
            if exists {
                rename(&self.output, &old)?;
            }
            rename(&self.folder, &self.output).inspect_err(|_| {
                // Restores the old bundle. The first error is reported.
                let _ = rename(&old, &self.output);
            })?;
            Ok(old.clone())
        })?;
        self.made.clear();
        // The new bundle is in place, even if the old one cannot be removed.
        let _ = fs::remove_dir_all(&old);
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After [`Self::finish`] the folder no longer exists.
        let _ = fs::remove_dir_all(&self.folder);
        for folder in self.made.iter().rev() {
            // Fails if other files were created in the folder meanwhile.
            let _ = fs::remove_dir(folder);
        }
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|source| Error::io(from, source))
}

fn is_replaceable(output: &Path, marker: &str) -> bool {
    let empty = fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_none());
    empty || output.join(marker).is_file()
}

/// An unused hidden name in the same folder, and so on the same disk. Process numbers repeat, above
/// all in containers, and a killed export leaves its folder behind.
fn sibling(output: &Path, kind: &str) -> PathBuf {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let mut number = std::process::id();
    loop {
        let path = output.with_file_name(format!(".{name}.{number}.{kind}"));
        if path.symlink_metadata().is_err() {
            return path;
        }
        number = number.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Staging;

    #[test]
    fn an_unfinished_export_leaves_not_even_the_parents_it_made() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::create(&folder.path().join("a/b/bundle"), "marker").unwrap();
        assert!(staging.folder().is_dir());
        drop(staging);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_export_left_behind_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("bundle");
        let killed = std::mem::ManuallyDrop::new(Staging::create(&output, "marker").unwrap());
        let next = Staging::create(&output, "marker").unwrap();
        assert_ne!(next.folder(), killed.folder());
        fs::write(next.folder().join("marker"), "new").unwrap();
        next.finish().unwrap();
        assert_eq!(fs::read_to_string(output.join("marker")).unwrap(), "new");
    }

    #[test]
    fn an_earlier_export_is_replaced_and_a_name_of_no_folder_refused() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("bundle");
        for text in ["old", "new"] {
            let staging = Staging::create(&output, "marker").unwrap();
            fs::write(staging.folder().join("marker"), text).unwrap();
            staging.finish().unwrap();
            assert_eq!(fs::read_to_string(output.join("marker")).unwrap(), text);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(Staging::create(&folder.path().join(".."), "marker").is_err());
    }
}
