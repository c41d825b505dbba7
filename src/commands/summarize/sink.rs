//! Where summaries go: standard output, one file, or a file for each document in a folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use epitome_runtime::beside;
use tempfile::NamedTempFile;

use super::render::{Finished, Format, Renderer};
use crate::failure::Usage;
use crate::inputs::{Document, Input};

/// Where summaries go.
pub(super) enum Sink {
    /// Standard output.
    Output(Renderer),
    /// One file, which is put in place at the end.
    File { path: PathBuf, file: NamedTempFile, renderer: Renderer },
    /// A folder with a file for each file that was read.
    Folder {
        folder: PathBuf,
        format: Format,
        /// The summaries of the file that is being worked on.
        text: String,
    },
}

impl Sink {
    /// Standard output.
    pub(super) fn output(format: Option<Format>, is_headed: bool) -> Self {
        Self::Output(Renderer::for_output(format.unwrap_or(Format::Text), is_headed))
    }

    /// One file. Its name tells the format where none was chosen.
    pub(super) fn file(path: &Path, format: Option<Format>, is_headed: bool) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let named = extension.and_then(Format::of_extension);
        let format = format.or(named).unwrap_or(Format::Text);
        let file = create_beside(path)?;
        let renderer = Renderer::for_file(format, is_headed);
        Ok(Self::File { path: path.to_owned(), file, renderer })
    }

    /// A folder for summaries of these files.
    pub(super) fn folder(folder: &Path, format: Option<Format>, inputs: &[Input]) -> Result<Self> {
        let format = format.unwrap_or(Format::Markdown);
        let mut targets: BTreeMap<PathBuf, &Path> = BTreeMap::new();
        for input in inputs {
            let target = target(folder, format, input);
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
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder '{}'", folder.display()))?;
        Ok(Self::Folder { folder: folder.to_owned(), format, text: String::new() })
    }

    /// Whether the summary of a file is there and newer than the file.
    pub(super) fn has_newer(&self, input: &Input) -> bool {
        let Self::Folder { folder, format, .. } = self else { return false };
        let modified = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
        let target = target(folder, *format, input);
        match (modified(&target), modified(&input.path)) {
            (Some(summary), Some(document)) => summary >= document,
            _ => false,
        }
    }

    /// Writes what stands above a document's summary.
    pub(super) fn put_heading(&mut self, document: &Document) -> Result<()> {
        let heading = match self {
            Self::Output(renderer) | Self::File { renderer, .. } => renderer.heading(document),
            Self::Folder { format, text, .. } => {
                let mut renderer = Renderer::for_file(*format, false);
                let gap = if text.is_empty() || *format == Format::Csv { "" } else { "\n" };
                let heading = renderer.heading(document);
                // One header for all rows of a table.
                match !text.is_empty() && *format == Format::Csv {
                    true => String::new(),
                    false => gap.to_owned() + &heading,
                }
            }
        };
        self.put(&heading)
    }

    /// Writes a document's summaries.
    pub(super) fn put_body(&mut self, finished: &Finished<'_>) -> Result<()> {
        let body = match self {
            Self::Output(renderer) | Self::File { renderer, .. } => renderer.body(finished)?,
            Self::Folder { format, .. } => Renderer::for_file(*format, false).body(finished)?,
        };
        self.put(&body)
    }

    /// Writes text as it is.
    pub(super) fn put(&mut self, text: &str) -> Result<()> {
        match self {
            Self::Output(_) => {
                let mut out = stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()?;
            }
            Self::File { path, file, .. } => file
                .write_all(text.as_bytes())
                .with_context(|| format!("cannot write '{}'", path.display()))?,
            Self::Folder { text: whole, .. } => whole.push_str(text),
        }
        Ok(())
    }

    /// All documents of a file are written; or some of them failed, so that it is not done.
    pub(super) fn end_input(&mut self, input: &Input, is_whole: bool) -> Result<()> {
        let Self::Folder { folder, format, text } = self else { return Ok(()) };
        let text = std::mem::take(text);
        if !is_whole {
            return Ok(());
        }
        let path = target(folder, *format, input);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make the folder '{}'", parent.display()))?;
        }
        let mut file = create_beside(&path)?;
        file.write_all(text.as_bytes())
            .with_context(|| format!("cannot write '{}'", path.display()))?;
        put_in_place(file, &path)
    }

    /// Puts a file in its place.
    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::File { path, file, .. } => put_in_place(file, &path),
            Self::Output(_) | Self::Folder { .. } => Ok(()),
        }
    }
}

/// The file of a summary: the name of the document and one more extension, so that no two documents
/// share one.
fn target(folder: &Path, format: Format, input: &Input) -> PathBuf {
    let name = match input.is_standard_input() {
        true => "standard-input".into(),
        false => input.below.clone().into_os_string(),
    };
    let mut name = name;
    name.push(".");
    name.push(format.extension());
    folder.join(name)
}

/// A new file beside this one.
fn create_beside(path: &Path) -> Result<NamedTempFile> {
    beside::create(path).with_context(|| format!("cannot write '{}'", path.display()))
}

fn put_in_place(file: NamedTempFile, path: &Path) -> Result<()> {
    file.persist(path).with_context(|| format!("cannot write '{}'", path.display()))?;
    Ok(())
}
