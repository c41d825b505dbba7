//! Writing beside, then renaming: an export is there whole, or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A folder beside the output that becomes the output, or vanishes.
pub(crate) struct Staging {
    folder: PathBuf,
    output: PathBuf,
}

impl Staging {
    /// Creates the folder. The output may be absent, empty, or hold an earlier export (a file
    /// `marker`), which is replaced only once the new one is whole.
    pub(crate) fn create(output: &Path, marker: &str) -> Result<Self> {
        if output.exists() && !is_replaceable(output, marker) {
            return Err(Error::OutputExists {
                path: output.into(),
            });
        }
        let folder = sibling(output, "partial");
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).map_err(|source| Error::io(parent, source))?;
        }
        fs::create_dir(&folder).map_err(|source| Error::io(&folder, source))?;
        Ok(Self {
            folder,
            output: output.into(),
        })
    }

    /// The folder to write into.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts the folder in the output's place.
    pub(crate) fn finish(self) -> Result<()> {
        let rename =
            |from: &Path, to: &Path| fs::rename(from, to).map_err(|source| Error::io(to, source));
        if !self.output.exists() {
            return rename(&self.folder, &self.output);
        }
        let old = sibling(&self.output, "replaced");
        rename(&self.output, &old)?;
        if let Err(error) = rename(&self.folder, &self.output) {
            rename(&old, &self.output)?;
            return Err(error);
        }
        fs::remove_dir_all(&old).map_err(|source| Error::io(&old, source))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Gone already when the export was finished.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn is_replaceable(output: &Path, marker: &str) -> bool {
    let empty = fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_none());
    empty || output.join(marker).is_file()
}

/// A hidden name in the same folder, and so on the same disk, of this process alone.
fn sibling(output: &Path, kind: &str) -> PathBuf {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!(".{name}.{}.{kind}", std::process::id()))
}
