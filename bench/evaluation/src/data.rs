//! Documents for a measurement: a CSV file with a column of texts and, to measure quality, a column
//! of reference summaries.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use csv::{ErrorKind, StringRecord};
use epitome_runtime::bundle::digest;

use crate::error::{Error, Result};

/// Names of the columns of texts and summaries in well-known data sets, the most specific first.
const KNOWN: [(&str, &str); 14] = [
    ("text", "summary"),
    ("article", "highlights"),
    ("document", "summary"),
    ("dialogue", "summary"),
    ("article", "summary"),
    ("article", "abstract"),
    ("report", "summary"),
    ("description", "abstract"),
    ("transcript", "summary"),
    ("content", "summary"),
    ("source", "target"),
    ("input", "target"),
    ("text", "headline"),
    ("text", "target"),
];

/// The columns of the texts and of the reference summaries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Column of the texts; by default that of a well-known data set.
    pub text: Option<String>,
    /// Column of the summaries; by default that of a well-known data set, if the file has it.
    pub summary: Option<String>,
}

/// A document, and its reference summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Row of the file, from 1, without the header.
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
    /// Reads at most `limit` documents of a CSV file whose header names the columns of a
    /// well-known data set, such as `text` and `summary`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::Data`], naming the file and the line.
    pub fn read(path: &Path, limit: Option<usize>) -> Result<Self> {
        Self::read_columns(path, limit, &Columns::default())
    }

    /// Reads documents as [`Dataset::read`] does, from columns of any names.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::Data`], naming the file and the line.
    pub fn read_columns(path: &Path, limit: Option<usize>, columns: &Columns) -> Result<Self> {
        let mut file = BufReader::new(File::open(path).map_err(Error::io(path))?);
        // Spreadsheets begin a file with a byte order mark, which is not part of a column's name.
        if file.fill_buf().map_err(Error::io(path))?.starts_with(b"\xef\xbb\xbf") {
            file.consume(3);
        }
        let mut reader = csv::Reader::from_reader(file);
        let wrong = |error: csv::Error| refused(path, error);
        let header = reader.headers().map_err(wrong)?.clone();
        let (text, summary) =
            columns.find(&header).map_err(|problem| Error::data(path, problem))?;
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

    /// The digest of all texts and summaries. Files with the same digest have the same documents.
    pub fn digest(&self) -> String {
        let mut bytes = Vec::new();
        for document in &self.documents {
            for text in [&document.text, document.summary.as_deref().unwrap_or_default()] {
                bytes.extend((text.len() as u64).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
        }
        format!("sha256:{}", digest::bytes(&bytes))
    }
}

impl Columns {
    /// Positions of the columns in a header, or an error message.
    fn find(&self, header: &StringRecord) -> std::result::Result<(usize, Option<usize>), String> {
        let find = |name: &str| {
            let exact = header.iter().position(|column| column.trim() == name);
            exact.or_else(|| header.iter().position(|one| one.trim().eq_ignore_ascii_case(name)))
        };
        let named = |name: &str, flag: &str| {
            find(name).ok_or_else(|| {
                format!("has no column '{name}' ({}): correct {flag}", names(header))
            })
        };
        let text = self.text.as_deref().map(|name| named(name, "--text-column")).transpose()?;
        let summary =
            self.summary.as_deref().map(|name| named(name, "--summary-column")).transpose()?;
        // Pairs of columns come before texts without summaries.
        let fits = |pair: &&(&str, &str)| text.is_none_or(|text| find(pair.0) == Some(text));
        let known = KNOWN.iter().filter(fits);
        let pairs = known.clone().filter_map(|pair| Some((find(pair.0)?, find(pair.1)?)));
        let texts = known.filter_map(|pair| find(pair.0));
        match (text, summary) {
            (Some(text), Some(summary)) => Ok((text, Some(summary))),
            (Some(text), None) => Ok((text, pairs.map(|pair| pair.1).next())),
            (None, summary) => {
                let pair = pairs.map(|(text, summary)| (text, Some(summary))).next();
                let found = pair.or_else(|| texts.map(|text| (text, None)).next());
                let (text, other) = found.ok_or_else(|| {
                    let known: Vec<String> =
                        KNOWN.iter().take(4).map(|pair| format!("{}/{}", pair.0, pair.1)).collect();
                    format!(
                        "has no column 'text' nor those of a well-known data set such as {} ({}): \
                         name yours with --text-column and --summary-column",
                        known.join(", "),
                        names(header)
                    )
                })?;
                Ok((text, summary.or(other)))
            }
        }
    }
}

fn names(header: &StringRecord) -> String {
    let found: Vec<String> = header.iter().take(8).map(|name| format!("'{name}'")).collect();
    format!("its columns are {}", found.join(", "))
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
    fn columns_of_well_known_data_sets_are_found_and_others_can_be_named() {
        let pick = |header: &str, text: Option<&str>, summary: Option<&str>| {
            let columns = Columns { text: text.map(Into::into), summary: summary.map(Into::into) };
            columns.find(&StringRecord::from(header.split(',').collect::<Vec<_>>()))
        };
        assert_eq!(pick("id,article,highlights", None, None), Ok((1, Some(2))));
        assert_eq!(pick("summary,document", None, None), Ok((1, Some(0))));
        assert_eq!(pick("id,Dialogue,Summary", None, None), Ok((1, Some(2))));
        // A pair of columns comes before a text alone.
        assert_eq!(pick("text,article,highlights", None, None), Ok((1, Some(2))));
        assert_eq!(pick("text,label", None, None), Ok((0, None)));
        assert_eq!(pick("a,b", Some("b"), Some("a")), Ok((1, Some(0))));
        assert_eq!(pick("a,b", Some("b"), None), Ok((1, None)));
        assert_eq!(pick("article,highlights", Some("article"), None), Ok((0, Some(1))));
        assert_eq!(pick("text,teaser", None, Some("teaser")), Ok((0, Some(1))));
        let wrong = pick("a,b", Some("c"), None).expect_err("no such column");
        assert_eq!(wrong, "has no column 'c' (its columns are 'a', 'b'): correct --text-column");
    }

    #[test]
    fn a_digest_is_of_texts_and_summaries() {
        let digest = |bytes: &[u8]| read(bytes).expect("read").digest();
        let one = digest(b"text,summary\na,b\n");
        assert_eq!(one, digest(b"id,article,highlights\n7,a,b\n"));
        assert_ne!(one, digest(b"text,summary\nab,\n"));
        assert_ne!(one, digest(b"text,summary\na,c\n"));
    }

    #[test]
    fn bad_files_are_refused_in_one_sentence() {
        let unknown = problem(b"title,lines\na,b\n");
        assert!(unknown.starts_with("has no column 'text' nor"), "{unknown}");
        assert!(unknown.contains("(its columns are 'title', 'lines')"), "{unknown}");
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
