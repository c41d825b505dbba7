//! Documents to measure on: a CSV file with the column `text` and, to measure quality, `summary`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use csv::{ErrorKind, StringRecord};

use crate::error::{Error, Result};

/// The column of the documents.
const TEXT: &str = "text";
/// The column of the reference summaries.
const SUMMARY: &str = "summary";

/// A document, and the summary that a person wrote for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Row of the file, from 1, the header not counted.
    pub row: usize,
    /// The text to summarize.
    pub text: String,
    /// The reference summary, if there is one.
    pub summary: Option<String>,
}

/// The documents of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dataset {
    /// Documents with a text, in the order of the file.
    pub documents: Vec<Document>,
    /// Number of rows without a text, which were skipped.
    pub empty_rows: usize,
}

impl Dataset {
    /// Reads at most `limit` documents of a CSV file with a header.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::Data`], naming the file and the line.
    pub fn read(path: &Path, limit: Option<usize>) -> Result<Self> {
        let mut file = BufReader::new(File::open(path).map_err(Error::io(path))?);
        // Spreadsheets begin a file with a byte order mark, which is not part of a column's name.
        if file.fill_buf().map_err(Error::io(path))?.starts_with(b"\xef\xbb\xbf") {
            file.consume(3);
        }
        let mut reader = csv::Reader::from_reader(file);
        let wrong = |error: csv::Error| refused(path, error);
        let columns = reader.headers().map_err(wrong)?.clone();
        let find = |name: &str| columns.iter().position(|column| column.trim() == name);
        let Some(text) = find(TEXT) else {
            return Err(Error::data(path, missing_column(&columns)));
        };
        let summary = find(SUMMARY);
        let mut dataset = Self::default();
        let limit = limit.unwrap_or(usize::MAX);
        for (index, record) in reader.records().enumerate() {
            if dataset.documents.len() == limit {
                break;
            }
            let record = record.map_err(wrong)?;
            let cell = |column: usize| record.get(column).unwrap_or("").trim();
            if cell(text).is_empty() {
                dataset.empty_rows += 1;
                continue;
            }
            dataset.documents.push(Document {
                row: index + 1,
                text: cell(text).to_owned(),
                summary: summary.map(cell).filter(|summary| !summary.is_empty()).map(str::to_owned),
            });
        }
        if dataset.documents.is_empty() {
            return Err(Error::data(path, "has no row with a text: nothing to measure"));
        }
        Ok(dataset)
    }
}

fn missing_column(columns: &StringRecord) -> String {
    let found: Vec<String> = columns.iter().take(8).map(|name| format!("'{name}'")).collect();
    format!(
        "has no column '{TEXT}' (its columns are {}): name the documents' column '{TEXT}' and \
         that of the reference summaries '{SUMMARY}'",
        found.join(", ")
    )
}

fn refused(path: &Path, error: csv::Error) -> Error {
    let line = error.position().map(csv::Position::line);
    let at = line.map_or_else(String::new, |line| format!(" in line {line}"));
    match error.into_kind() {
        ErrorKind::Io(source) => Error::Io { path: path.to_owned(), source },
        ErrorKind::Utf8 { err, .. } => {
            Error::data(path, format!("is not UTF-8 text{at}, column {}", err.field() + 1))
        }
        ErrorKind::UnequalLengths { expected_len, len, .. } => Error::data(
            path,
            format!(
                "has {len} columns{at} where the header has {expected_len}: \
                 quote texts that hold commas"
            ),
        ),
        other => Error::data(path, format!("is not CSV{at}: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Dataset> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data.csv");
        fs::write(&path, bytes).expect("written");
        Dataset::read(&path, None)
    }

    fn problem(bytes: &[u8]) -> String {
        let message = read(bytes).expect_err("refused").to_string();
        message.split_once("data.csv' ").expect("the file is named").1.to_owned()
    }

    #[test]
    fn quoted_texts_marks_and_empty_rows_are_read() {
        let data =
            read(b"\xef\xbb\xbfid,text,summary\n1,\"a, b\nc\",s\n2,  ,t\n3,d,\n").expect("read");
        let texts: Vec<_> = data.documents.iter().map(|d| d.text.as_str()).collect();
        assert_eq!(texts, ["a, b\nc", "d"]);
        assert_eq!(data.documents[1].row, 3);
        assert_eq!(data.documents[0].summary.as_deref(), Some("s"));
        assert_eq!(data.documents[1].summary, None);
        assert_eq!(data.empty_rows, 1);
    }

    #[test]
    fn bad_files_are_refused_in_one_sentence() {
        assert!(
            problem(b"title,body\na,b\n")
                .starts_with("has no column 'text' (its columns are 'title', 'body')")
        );
        assert!(problem(b"").starts_with("has no column 'text'"));
        assert_eq!(problem(b"text\n \n"), "has no row with a text: nothing to measure");
        assert_eq!(problem(b"text\n"), "has no row with a text: nothing to measure");
        assert!(
            problem(b"text,summary\na,b\nc\n")
                .starts_with("has 1 columns in line 3 where the header has 2")
        );
        assert_eq!(problem(b"text\nok\n\xff\xfe\n"), "is not UTF-8 text in line 3, column 1");
    }
}
