//! The destination of summaries: standard output, one file, or a file for each document in a
//! folder.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use epitome_runtime::{atomic_file, scratch};

use super::render::{Finished, Format, Renderer};
use crate::inputs::{Document, Input};
use crate::output_folder::OutputFolder;

/// Destination of the summaries.
pub(super) enum Sink {
    /// Standard output.
    Output(Renderer),
    /// One file, which is put in place at the end.
    File { path: PathBuf, file: scratch::File, renderer: Renderer },
    /// A folder with an output file for each input file.
    Folder {
        folder: OutputFolder,
        format: Format,
        /// The summaries of the current input file.
        text: String,
    },
}

impl Sink {
    /// Creates a sink that writes to standard output.
    pub(super) fn output(format: Option<Format>, is_headed: bool) -> Self {
        Self::Output(Renderer::for_output(format.unwrap_or(Format::Text), is_headed))
    }

    /// Creates a sink that writes one file. Its name tells the format where none was chosen.
    pub(super) fn file(path: &Path, format: Option<Format>, is_headed: bool) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let named = extension.and_then(Format::of_extension);
        let format = format.or(named).unwrap_or(Format::Text);
        let file = atomic_file::create(path).with_context(|| cannot_write(path))?;
        let renderer = Renderer::for_file(format, is_headed);
        Ok(Self::File { path: path.to_owned(), file, renderer })
    }

    /// Creates a sink that writes a file for each input file to the folder.
    pub(super) fn folder(folder: &Path, format: Option<Format>, inputs: &[Input]) -> Result<Self> {
        let format = format.unwrap_or(Format::Markdown);
        let folder = OutputFolder::create(folder, format.extension(), inputs)?;
        Ok(Self::Folder { folder, format, text: String::new() })
    }

    /// Whether the summary of a file is there and newer than the file.
    pub(super) fn has_newer(&self, input: &Input) -> bool {
        matches!(self, Self::Folder { folder, .. } if folder.has_newer(input))
    }

    /// Writes the heading of a document's summary.
    pub(super) fn put_heading(&mut self, document: &Document) -> Result<()> {
        let heading = match self {
            Self::Output(renderer) | Self::File { renderer, .. } => renderer.heading(document),
            Self::Folder { format, text, .. } => {
                let mut renderer = Renderer::for_file(*format, false);
                let gap = if text.is_empty() || *format == Format::Csv { "" } else { "\n" };
                let heading = renderer.heading(document);
                // A table has one header for all rows.
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

    /// Writes text unchanged.
    pub(super) fn put(&mut self, text: &str) -> Result<()> {
        match self {
            Self::Output(_) => {
                let mut out = stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()?;
            }
            Self::File { path, file, .. } => {
                file.write_all(text.as_bytes()).with_context(|| cannot_write(path))?;
            }
            Self::Folder { text: whole, .. } => whole.push_str(text),
        }
        Ok(())
    }

    /// Ends an input file. `is_whole` is false if some of its documents failed.
    pub(super) fn end_input(&mut self, input: &Input, is_whole: bool) -> Result<()> {
        let Self::Folder { folder, text, .. } = self else { return Ok(()) };
        let text = std::mem::take(text);
        if is_whole { folder.put(input, &text) } else { Ok(()) }
    }

    /// Renames a finished file into place.
    pub(super) fn finish(self) -> Result<()> {
        if let Self::File { path, file, .. } = self {
            file.persist(&path).with_context(|| cannot_write(&path))?;
        }
        Ok(())
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write '{}'", path.display())
}
