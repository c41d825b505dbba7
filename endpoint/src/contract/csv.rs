//! CSV bodies: a header row with the column `inputs`, a text a row.
//!
//! Read field by field, so that a body of commas takes no memory.

use csv_core::{ReadFieldResult, Reader};

use super::invocation::{INPUTS, Reading, bad};
use crate::error::ApiError;
use crate::scheduler::JobParameters;

/// Bytes of a field that are read at a time.
const PIECE: usize = 16 << 10;

/// Reads the texts.
pub(super) fn read(text: &str, reading: &mut Reading<'_>) -> Result<(), ApiError> {
    let mut fields = Fields { reader: Reader::new(), rest: text.as_bytes(), piece: vec![0; PIECE] };
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
    let column = column.ok_or_else(|| {
        bad(format!("the CSV body needs a header row with the column `{INPUTS}`"))
    })?;
    rows(&mut fields, columns, column, reading)?;
    reading.inputs(JobParameters::default(), true)
}

fn rows(
    fields: &mut Fields<'_>,
    columns: usize,
    column: usize,
    reading: &mut Reading<'_>,
) -> Result<(), ApiError> {
    for row in 0.. {
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
        if found != columns {
            return Err(bad(format!(
                "the body is not CSV: line {} has {found} field{}, and the header has {columns}",
                row + 2,
                if found == 1 { "" } else { "s" }
            )));
        }
        let text = String::from_utf8(text)
            .map_err(|_| bad("the body is not CSV: a field is not UTF-8"))?;
        reading.document(text.into(), Some(row))?;
    }
    Ok(())
}

/// Enough of a name to tell it from all others.
fn keep_start(name: &mut Vec<u8>, piece: &[u8]) {
    let room = (PIECE - name.len()).min(piece.len());
    name.extend_from_slice(&piece[..room]);
}

/// The fields of a CSV text.
struct Fields<'a> {
    reader: Reader,
    rest: &'a [u8],
    piece: Vec<u8>,
}

impl Fields<'_> {
    /// Reads a field in pieces: whether it ends its record, or `None` at the end of the text.
    fn next(&mut self, mut take: impl FnMut(&[u8])) -> Option<bool> {
        loop {
            let (result, read, written) = self.reader.read_field(self.rest, &mut self.piece);
            self.rest = &self.rest[read..];
            take(&self.piece[..written]);
            match result {
                // An empty rest tells the reader that the text has ended.
                ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull => {}
                ReadFieldResult::Field { record_end } => return Some(record_end),
                ReadFieldResult::End => return None,
            }
        }
    }
}
