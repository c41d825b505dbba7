//! A folder with a file of summaries for each input file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use epitome_runtime::atomic_file;

use crate::failure::Usage;
use crate::inputs::Input;

/// An existing folder for summaries.
pub(crate) struct OutputFolder {
    path: PathBuf,
    extension: &'static str,
}

impl OutputFolder {
    /// Creates the folder for summaries of these files, in files with this extension.
    pub(crate) fn create(path: &Path, extension: &'static str, inputs: &[Input]) -> Result<Self> {
        let folder = Self { path: path.to_owned(), extension };
        let mut targets: BTreeMap<PathBuf, &Path> = BTreeMap::new();
        for input in inputs {
            let target = folder.target(input);
            if let Some(other) = targets.insert(target.clone(), &input.path) {
                bail!(Usage(format!(
                    "the summaries of '{}' and '{}' would both be '{}': summarize them one at a \
                     time, each with its own --output-dir",
                    other.display(),
                    input.path.display(),
                    target.display()
                )));
            }
        }
        make(path)?;
        Ok(folder)
    }

    /// Whether the summary of a file exists and is newer than the file.
    pub(crate) fn has_newer(&self, input: &Input) -> bool {
        let modified = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
        match (modified(&self.target(input)), modified(&input.path)) {
            (Some(summary), Some(document)) => summary >= document,
            _ => false,
        }
    }

    /// Writes the summaries of a file.
    pub(crate) fn put(&self, input: &Input, text: &str) -> Result<()> {
        let path = self.target(input);
        if let Some(parent) = path.parent() {
            make(parent)?;
        }
        atomic_file::replace(&path, text.as_bytes())
            .with_context(|| format!("cannot write '{}'", path.display()))
    }

    /// The path of a summary: the name of the document plus an extension, so that no two documents
    /// of a folder share one.
    fn target(&self, input: &Input) -> PathBuf {
        let mut name = match input.is_standard_input() {
            true => "standard-input".into(),
            false => input.below.clone().into_os_string(),
        };
        name.push(".");
        name.push(self.extension);
        self.path.join(name)
    }
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder '{}'", folder.display()))
}
