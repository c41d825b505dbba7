//! Rows of CSV and of JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use epitome_runtime::progress::{Progress, Total};
use serde_json::{Map, Value};

use super::options::PrepareOptions;
use super::row::{LeftOut, Row, Sink};
use crate::error::{Error, Result};

/// Number of rows between checks for cancellation.
const ROWS: u64 = 1024;

/// Passes every row of a CSV file with a header to `sink`.
pub(super) fn csv(path: &Path, options: &PrepareOptions<'_>, sink: &mut Sink<'_>) -> Result<()> {
    let (file, size) = open(path)?;
    options.progress.start("Reading rows", Total::Bytes(size));
    let mut reader = csv::Reader::from_reader(Counted::new(file, options.progress));
    let bad = |error: csv::Error| Error::Dataset {
        path: path.into(),
        problem: format!("cannot be read as CSV: {error}"),
    };
    let header = reader.byte_headers().map_err(bad)?.clone();
    let column = |name: &str| {
        let at = header.iter().position(|field| strip_mark(field) == name.as_bytes());
        at.ok_or_else(|| {
            missing(
                path,
                name,
                header.iter().map(|field| String::from_utf8_lossy(strip_mark(field))),
            )
        })
    };
    let (text, summary) = (column(options.text_column)?, column(options.summary_column)?);
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(bad)? {
        stop(options.progress, record.position().map_or(0, csv::Position::record))?;
        let field = |at: usize| std::str::from_utf8(record.get(at).unwrap_or_default());
        sink(match (field(text), field(summary)) {
            (Ok(text), Ok(summary)) => Row::new(text, summary),
            _ => Err(LeftOut::NotText),
        })?;
    }
    Ok(())
}

/// Passes every line with a JSON object to `sink`.
pub(super) fn json_lines(
    path: &Path,
    options: &PrepareOptions<'_>,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let (file, size) = open(path)?;
    options.progress.start("Reading rows", Total::Bytes(size));
    let mut reader = BufReader::with_capacity(1 << 20, Counted::new(file, options.progress));
    let mut line = Vec::new();
    let mut found = false;
    for number in 1.. {
        stop(options.progress, number)?;
        line.clear();
        let length = reader.read_until(b'\n', &mut line);
        if length.map_err(|error| Error::io(path, error))? == 0 {
            break;
        }
        let content = strip_mark(&line).trim_ascii();
        if content.is_empty() {
            continue;
        }
        if std::str::from_utf8(content).is_err() {
            sink(Err(LeftOut::NotText))?;
            continue;
        }
        let object: Map<String, Value> =
            serde_json::from_slice(content).map_err(|error| Error::Dataset {
                path: path.into(),
                problem: format!("line {number} is not a JSON object: {error}"),
            })?;
        if !found {
            // Later rows may lack a field. If the first row lacks one, the field's name is wrong.
            for name in [options.text_column, options.summary_column] {
                if !object.contains_key(name) {
                    return Err(missing(path, name, object.keys()));
                }
            }
            found = true;
        }
        let field = |name: &str| match object.get(name) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(Error::Dataset {
                path: path.into(),
                problem: format!("line {number}: '{name}' is not a text"),
            }),
        };
        sink(Row::new(field(options.text_column)?, field(options.summary_column)?))?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<(File, u64)> {
    let io = |error| Error::io(path, error);
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    Ok((file, size))
}

fn stop(progress: &dyn Progress, row: u64) -> Result<()> {
    if row.is_multiple_of(ROWS) && progress.cancelled() {
        return Err(Error::Interrupted);
    }
    Ok(())
}

fn missing(path: &Path, name: &str, found: impl Iterator<Item = impl Into<String>>) -> Error {
    let found: Vec<String> = found.map(Into::into).collect();
    Error::DatasetColumn { path: path.into(), name: name.into(), found }
}

/// Removes the byte order mark that spreadsheets write.
fn strip_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// Reports the progress of reading a file.
struct Counted<'a> {
    file: File,
    progress: &'a dyn Progress,
}

impl<'a> Counted<'a> {
    fn new(file: File, progress: &'a dyn Progress) -> Self {
        Self { file, progress }
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}
