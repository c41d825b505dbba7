//! The documents that the command line names: files, folders and standard input.

use std::collections::BTreeSet;
use std::fs;
use std::io::{IsTerminal, Read, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use epitome_documents::isolated::Extractor;
use epitome_documents::{ErrorKind, Options};
use epitome_runtime::LongDocument;
use ignore::WalkBuilder;

use crate::failure::Usage;
use crate::this_program;

/// A document, and where it came from.
pub(crate) struct Document {
    /// The path as it was given, or `-`. In a file with several documents, also the number of the
    /// row.
    pub(crate) source: String,
    /// The title, where the format has one.
    pub(crate) title: Option<String>,
    /// The text.
    pub(crate) text: LongDocument<'static>,
}

/// A file that was named, or that lies in a named folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    /// The file; `-` for standard input.
    pub(crate) path: PathBuf,
    /// Path relative to the named folder; the file name where the file itself was named.
    pub(crate) below: PathBuf,
    /// Whether it was found in a folder.
    pub(crate) is_found: bool,
}

impl Input {
    pub(crate) fn named(path: &Path) -> Self {
        let below = path.file_name().map_or_else(|| path.to_owned(), PathBuf::from);
        Self { path: path.to_owned(), below, is_found: false }
    }

    /// Whether it is standard input.
    pub(crate) fn is_standard_input(&self) -> bool {
        is_standard_input(&self.path)
    }
}

/// The files of these paths, sorted by name within each folder. No path at all is standard input.
/// Skips files in `left_out`.
pub(crate) fn expand(paths: &[PathBuf], left_out: Option<&Path>) -> Result<Vec<Input>> {
    let standard_input = [PathBuf::from("-")];
    let paths = if paths.is_empty() { &standard_input } else { paths };
    if paths.iter().filter(|path| is_standard_input(path)).count() > 1 {
        bail!(Usage("standard input, '-', was given more than once".into()));
    }
    let mut inputs = Vec::new();
    for path in paths {
        if is_standard_input(path) || !path.is_dir() {
            inputs.push(Input::named(path));
        } else {
            walk(path, left_out, &mut inputs)?;
        }
    }
    let mut seen = BTreeSet::new();
    inputs.retain(|input| seen.insert(input.path.clone()));
    Ok(inputs)
}

/// The files of a folder, without hidden files and files that a `.gitignore` or `.ignore` names.
fn walk(folder: &Path, left_out: Option<&Path>, inputs: &mut Vec<Input>) -> Result<()> {
    let left_out = left_out.and_then(|path| fs::canonicalize(path).ok());
    let before = inputs.len();
    let entries = WalkBuilder::new(folder)
        .sort_by_file_name(Ord::cmp)
        .require_git(false)
        .filter_entry(move |entry| {
            left_out.as_deref().is_none_or(|left_out| {
                entry.depth() == 0
                    || fs::canonicalize(entry.path()).ok().as_deref() != Some(left_out)
            })
        })
        .build();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read '{}'", folder.display()))?;
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            let path = entry.into_path();
            let below = path.strip_prefix(folder).unwrap_or(&path).to_owned();
            inputs.push(Input { path, below, is_found: true });
        }
    }
    if inputs.len() == before {
        bail!(Usage(format!("the folder '{}' has no files to read", folder.display())));
    }
    Ok(())
}

/// The result of reading a file.
pub(crate) enum Found {
    /// The documents of the file: one, or one for each row of a table.
    Documents(Vec<Document>),
    /// A file in a folder that has no text, such as a picture or a program.
    NoDocument,
}

/// Reads files.
pub(crate) struct Reader {
    extractor: Extractor,
}

impl Reader {
    /// Creates a reader that finds the text of a table in this column.
    pub(crate) fn new(text_column: Option<&str>) -> Result<Self> {
        let mut options = Options::default();
        options.text_column = text_column.map(str::to_owned);
        let extractor = this_program::extractor().context("this program cannot be found")?;
        Ok(Self { extractor: extractor.with_options(options) })
    }

    /// The documents of a file.
    pub(crate) fn read(&self, input: &Input) -> Result<Found> {
        let source = input.path.display().to_string();
        let read = if input.is_standard_input() {
            self.extractor.read(&standard_input()?, Some(&source))
        } else if !input.path.exists() {
            bail!(Usage(format!(
                "'{source}' does not exist: give a file, a folder, or '-' for standard input"
            )));
        } else {
            self.extractor.read_file(&input.path)
        };
        let documents = match read {
            Err(error) if input.is_found && matches!(error.kind, ErrorKind::NotADocument(_)) => {
                return Ok(Found::NoDocument);
            }
            read => read?,
        };
        let several = documents.len() > 1;
        let document = |(row, document): (usize, epitome_documents::Document)| Document {
            source: if several { format!("{source}:{}", row + 1) } else { source.clone() },
            text: long(&document),
            title: document.title,
        };
        Ok(Found::Documents(documents.into_iter().enumerate().map(document).collect()))
    }
}

/// The sections of a document, for the summarizer.
fn long(document: &epitome_documents::Document) -> LongDocument<'static> {
    let mut long = LongDocument::default();
    for section in &document.sections {
        long.push_section(section.heading.as_deref(), &section.text);
    }
    long
}

/// Reads every file; `-`, or no path at all, is standard input.
#[cfg(feature = "aws")]
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Document>> {
    let reader = Reader::new(None)?;
    let mut documents = Vec::new();
    for input in expand(paths, None)? {
        if let Found::Documents(found) = reader.read(&input)? {
            documents.extend(found);
        }
    }
    Ok(documents)
}

fn standard_input() -> Result<Vec<u8>> {
    if stdin().is_terminal() {
        let end = if cfg!(windows) { "Ctrl-Z and Enter" } else { "Ctrl-D" };
        eprintln!("epitome: reading standard input: type or paste a text, then press {end}");
    }
    let mut bytes = Vec::new();
    stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
    Ok(bytes)
}

fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}
