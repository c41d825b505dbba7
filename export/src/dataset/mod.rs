//! Training data: documents with their summaries, in the format of `run_summarization.py`.
//!
//! [`prepare`] reads a folder of the XSum distribution, CSV or JSON lines. It leaves out rows
//! without a text or a summary, and writes `train.csv` and `validation.csv` with the header
//! `text,summary`. [`lengths::measure`] measures them in tokens.
//!
//! Rows stream, so that memory does not grow with the data.

pub mod lengths;
mod options;
mod row;
mod split;
mod table;
mod xsum;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use epitome_runtime::{atomic_file, scratch};

use crate::error::{Error, Result};
use row::Row;
use split::Split;

pub use options::PrepareOptions;
pub use row::LeftOut;

/// File of the training rows.
pub const TRAIN: &str = "train.csv";
/// File of the validation rows.
pub const VALIDATION: &str = "validation.csv";
/// Columns of both files.
const COLUMNS: [&str; 2] = ["text", "summary"];

/// Numbers of rows that were written and left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Number of training rows.
    pub train: u64,
    /// Number of validation rows.
    pub validation: u64,
    /// Number of rows that were left out, by reason.
    pub dropped: BTreeMap<LeftOut, u64>,
}

impl Prepared {
    /// Number of rows that were written.
    pub fn written(&self) -> u64 {
        self.train + self.validation
    }
}

/// Reads `source` (a folder of XSum's files, `.csv`, or `.jsonl` and `.json` with an object on each
/// line) and writes [`TRAIN`] and [`VALIDATION`] into the folder `output`, which may exist. Earlier
/// files are replaced once both are complete.
///
/// # Errors
///
/// The source does not exist, is of an unknown kind, lacks a column, or has no usable row; a line
/// is malformed; the disk cannot be written. Then no file is left behind.
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

/// Kind of a source.
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

/// A CSV file that is written under a temporary name.
struct Table {
    writer: csv::Writer<BufWriter<scratch::File>>,
    path: PathBuf,
}

impl Table {
    fn create(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let file = atomic_file::create(&path).map_err(|error| Error::io(folder, error))?;
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

#[cfg(test)]
mod tests;
