//! Data to fine-tune on: documents with their summaries, as `run_summarization.py` reads them.
//!
//! [`prepare`] reads a folder of the XSum distribution, CSV or JSON lines, leaves out what lacks a
//! text or a summary, and writes `train.csv` and `validation.csv` with the header `text,summary`.
//! [`lengths::measure`] says what a tokenizer makes of them.
//!
//! Rows stream through: what is held in memory does not grow with the data.

pub mod lengths;
mod split;
mod table;
mod xsum;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use epitome_runtime::{Progress, beside, scratch};

use crate::error::{Error, Result};
use split::Split;

/// The rows to train on.
pub const TRAIN: &str = "train.csv";
/// The rows to validate with.
pub const VALIDATION: &str = "validation.csv";
/// The columns of both.
pub const COLUMNS: [&str; 2] = ["text", "summary"];

/// A document and its summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The document.
    pub text: String,
    /// Its summary.
    pub summary: String,
}

/// What to read, and how to part it.
pub struct PrepareOptions<'a> {
    /// A column of CSV, or a field of JSON lines, that holds documents.
    pub text_column: &'a str,
    /// One that holds summaries.
    pub summary_column: &'a str,
    /// The share of rows to validate with, in (0, 1).
    pub validation: f64,
    /// The same seed parts the same rows in the same way.
    pub seed: u64,
    /// Told how far the work is; can stop it.
    pub progress: &'a dyn Progress,
}

/// What became of the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Rows to train on.
    pub train: u64,
    /// Rows to validate with.
    pub validation: u64,
    /// Rows that were left out, by reason.
    pub dropped: BTreeMap<LeftOut, u64>,
}

impl Prepared {
    /// All rows that were written.
    pub fn written(&self) -> u64 {
        self.train + self.validation
    }
}

/// Why a row is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// There is no document, or nothing but spaces.
    EmptyText,
    /// There is no summary, or nothing but spaces.
    EmptySummary,
    /// A file of the XSum distribution has none of its sections.
    NoSections,
    /// It is not UTF-8.
    NotText,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::EmptyText => "without a text",
            Self::EmptySummary => "without a summary",
            Self::NoSections => "without XSum's sections",
            Self::NotText => "not in UTF-8",
        })
    }
}

/// What each row is handed to, in the order of the source.
type Sink<'a> = dyn FnMut(Result<Row, LeftOut>) -> Result<()> + 'a;

/// Reads `source` (a folder of XSum's files, `.csv`, `.jsonl` or `.json` with a line an object) and
/// writes [`TRAIN`] and [`VALIDATION`] into the folder `output`, which may exist. Earlier ones are
/// replaced once both are whole.
///
/// # Errors
///
/// A source that is not there, is of no known kind, lacks a column, or has no usable row; a
/// malformed line, by its number; a disk that cannot be written. Nothing is left behind then.
pub fn prepare(source: &Path, output: &Path, options: &PrepareOptions<'_>) -> Result<Prepared> {
    let kind = Kind::of(source)?;
    fs::create_dir_all(output).map_err(|error| Error::io(output, error))?;
    let mut train = Table::create(output, TRAIN)?;
    let mut validation = Table::create(output, VALIDATION)?;
    let mut split = Split::new(options.validation, options.seed);
    let mut prepared = Prepared::default();
    let mut sink = |row: Result<Row, LeftOut>| {
        match row {
            Ok(row) if split.next_is_validation() => {
                prepared.validation += 1;
                validation.write(&row)?;
            }
            Ok(row) => {
                prepared.train += 1;
                train.write(&row)?;
            }
            Err(reason) => *prepared.dropped.entry(reason).or_default() += 1,
        }
        Ok(())
    };
    match kind {
        Kind::Xsum => xsum::read(source, options.progress, &mut sink)?,
        Kind::Csv => table::csv(source, options, &mut sink)?,
        Kind::JsonLines => table::json_lines(source, options, &mut sink)?,
    }
    if prepared.train == 0 || prepared.validation == 0 {
        return Err(Error::Dataset {
            path: source.into(),
            problem: format!(
                "has {} rows with a text and a summary, which do not part into both train and \
                 validation",
                prepared.written()
            ),
        });
    }
    train.finish()?;
    validation.finish()?;
    Ok(prepared)
}

/// What a source holds.
enum Kind {
    Xsum,
    Csv,
    JsonLines,
}

impl Kind {
    fn of(source: &Path) -> Result<Self> {
        let Ok(metadata) = fs::metadata(source) else {
            return Err(Error::NoSuchDataset { path: source.into() });
        };
        if metadata.is_dir() {
            return Ok(Self::Xsum);
        }
        let extension = source.extension().unwrap_or_default().to_ascii_lowercase();
        match extension.to_str() {
            Some("csv") => Ok(Self::Csv),
            Some("jsonl" | "json" | "ndjson") => Ok(Self::JsonLines),
            _ => Err(Error::Dataset {
                path: source.into(),
                problem: "is of an unknown kind: give a folder of XSum's files, a .csv or a .jsonl"
                    .into(),
            }),
        }
    }
}

/// A CSV file that is written beside its place.
struct Table {
    writer: csv::Writer<BufWriter<scratch::File>>,
    path: PathBuf,
}

impl Table {
    fn create(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let file = beside::create(&path).map_err(|error| Error::io(folder, error))?;
        let mut table = Self {
            writer: csv::Writer::from_writer(BufWriter::with_capacity(1 << 20, file)),
            path,
        };
        table.record(COLUMNS)?;
        Ok(table)
    }

    fn write(&mut self, row: &Row) -> Result<()> {
        self.record([row.text.as_str(), row.summary.as_str()])
    }

    fn record(&mut self, fields: [&str; 2]) -> Result<()> {
        let written = self.writer.write_record(fields);
        written.map_err(|error| Error::io(&self.path, error.into()))
    }

    fn finish(self) -> Result<()> {
        let Self { writer, path } = self;
        let buffer = writer.into_inner().map_err(|error| Error::io(&path, error.into_error()))?;
        let mut file = buffer.into_inner().map_err(|error| Error::io(&path, error.into_error()))?;
        file.flush().map_err(|error| Error::io(&path, error))?;
        file.persist(&path).map_err(|error| Error::io(&path, error))
    }
}

/// A row with both its parts, trimmed, or why it is none.
fn row(text: &str, summary: &str) -> Result<Row, LeftOut> {
    let (text, summary) = (text.trim(), summary.trim());
    if text.is_empty() {
        Err(LeftOut::EmptyText)
    } else if summary.is_empty() {
        Err(LeftOut::EmptySummary)
    } else {
        Ok(Row { text: text.into(), summary: summary.into() })
    }
}

#[cfg(test)]
mod tests;
