//! CSV bodies: a header row with the column `inputs`, and a text in each row.
//!
//! Fields are read one by one, so that a body of commas takes no memory. In a transform job only
//! the first request of a file has the header row.

use csv_core::{ReadFieldResult, Reader};

use super::invocation::{INPUTS, Layout, Reading, Shape, bad};
use crate::error::ApiError;
use crate::scheduler::DocumentParameters;

/// Number of bytes of a field that are read at a time.
const PIECE: usize = 16 << 10;

/// Reads the texts.
pub(super) fn read(text: &str, reading: &mut Reading<'_>) -> Result<(), ApiError> {
    let mut fields = Fields::of(text);
    let (mut columns, mut column) = (0, None);
    loop {
        let mut name = Vec::new();
        let end = fields.next(|piece| keep_start(&mut name, piece));
        if end.is_some() && column.is_none() && name.trim_ascii() == INPUTS.as_bytes() {
            column = Some(columns);
        }
        columns += 1;
        if end != Some(false) {
            break;
        }
    }
    let records = reading.rules.transform.is_some();
    if records {
        reading.invocation.layout = Layout::Records { header: column.is_some() };
    }
    match column {
        Some(column) => rows(&mut fields, columns, column, 2, reading)?,
        None if records && columns == 1 => rows(&mut Fields::of(text), 1, 0, 1, reading)?,
        None if records => {
            return Err(bad(format!(
                "the CSV records have {columns} columns and no header row with the column \
                 `{INPUTS}`: choose the column of the texts with the job's InputFilter"
            )));
        }
        None => {
            return Err(bad(format!("the CSV body needs a header row with the column `{INPUTS}`")));
        }
    }
    match records {
        true => Ok(()),
        false => reading.inputs(DocumentParameters::default(), Shape::default(), true),
    }
}

/// Reads the rows. The first row has the number `first`.
fn rows(
    fields: &mut Fields<'_>,
    columns: usize,
    column: usize,
    first: usize,
    reading: &mut Reading<'_>,
) -> Result<(), ApiError> {
    let mut row = first;
    loop {
        // The CSV reader skips blank lines, but a blank line is a record of a transform job.
        if reading.rules.transform.is_some() {
            for _ in 0..fields.blank_lines() {
                reading.nothing()?;
                row += 1;
            }
        }
        let mut text = Vec::new();
        let mut found = 0;
        loop {
            let is_text = found == column;
            let end = fields.next(|piece| {
                if is_text {
                    text.extend_from_slice(piece);
                }
            });
            let Some(record_end) = end else {
                return Ok(());
            };
            found += 1;
            if record_end {
                break;
            }
        }
        let text = if found == columns {
            String::from_utf8(text).map_err(|_| bad("the body is not CSV: a field is not UTF-8"))
        } else {
            Err(bad(format!(
                "the body is not CSV: row {row} has {found} field{}, and the first row has \
                 {columns}",
                if found == 1 { "" } else { "s" }
            )))
        };
        if reading.rules.transform.is_some() {
            reading.record(row, |reading| record(text?, reading))?;
        } else {
            reading.document(text?.into(), Some(row - first))?;
        }
        row += 1;
    }
}

fn record(text: String, reading: &mut Reading<'_>) -> Result<(), ApiError> {
    if text.trim().is_empty() {
        return reading.nothing();
    }
    reading.document(text.into(), None)?;
    reading.inputs(DocumentParameters::default(), Shape::default(), false)
}

/// Keeps enough of a column's name to distinguish it from all others.
fn keep_start(name: &mut Vec<u8>, piece: &[u8]) {
    let room = (PIECE - name.len()).min(piece.len());
    name.extend_from_slice(&piece[..room]);
}

/// The fields of a CSV text.
struct Fields<'a> {
    reader: Reader,
    rest: &'a [u8],
    /// The previous byte.
    last: u8,
    piece: Vec<u8>,
}

impl<'a> Fields<'a> {
    fn of(text: &'a str) -> Self {
        Self { reader: Reader::new(), rest: text.as_bytes(), last: 0, piece: vec![0; PIECE] }
    }

    /// Reads the blank lines after a record, and counts them.
    fn blank_lines(&mut self) -> usize {
        // The CSV reader ends a record at the first byte of \r\n.
        if self.last == b'\r' {
            self.rest = self.rest.strip_prefix(b"\n").unwrap_or(self.rest);
        }
        let mut count = 0;
        while let [b'\r', b'\n', rest @ ..] | [b'\r' | b'\n', rest @ ..] = self.rest {
            self.rest = rest;
            count += 1;
        }
        count
    }

    /// Reads a field in pieces. Returns whether the field ends its record, or `None` at the end of
    /// the text.
    fn next(&mut self, mut take: impl FnMut(&[u8])) -> Option<bool> {
        loop {
            let (result, read, written) = self.reader.read_field(self.rest, &mut self.piece);
            if let Some(last) = self.rest[..read].last() {
                self.last = *last;
            }
            self.rest = &self.rest[read..];
            take(&self.piece[..written]);
            match result {
                // Empty input tells the CSV reader that the text has ended.
                ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull => {}
                ReadFieldResult::Field { record_end } => return Some(record_end),
                ReadFieldResult::End => return None,
            }
        }
    }
}
