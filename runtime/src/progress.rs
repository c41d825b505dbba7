//! Progress and cancellation of long work.

use std::io::{self, Read};

use crate::summary::Summary;

/// The amount of work in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// The amount is not known beforehand.
    Unknown,
    /// A number of bytes.
    Bytes(u64),
    /// A number of items: documents, rows or files.
    Items(u64),
}

/// Receives the progress of long work, and decides whether the work stops.
///
/// Every method has a default; `()` shows nothing and never stops. The number of a document is its
/// index in the call.
pub trait Progress: Sync {
    /// A stage of the work begins: its name, and its amount of work.
    fn start(&self, what: &str, total: Total) {
        let _ = (what, total);
    }

    /// More of the stage is done: the amount, in the unit of its total.
    fn advance(&self, amount: u64) {
        let _ = amount;
    }

    /// The state of something that the work waits for, such as a job; reported after each query.
    fn state(&self, state: &str) {
        let _ = state;
    }

    /// A line to show, such as a line of a log.
    fn note(&self, note: &str) {
        let _ = note;
    }

    /// Whether the user asked to stop. Long work calls this at least every few megabytes.
    fn cancelled(&self) -> bool {
        false
    }

    /// Whether nobody waits for this document any more. A search calls this before each step.
    fn document_cancelled(&mut self, document: usize) -> bool {
        let _ = document;
        self.cancelled()
    }

    /// A token became final. Only greedy search and sampling call this: beam search decides at the
    /// end.
    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        let _ = (document, sequence, token);
    }

    /// The summary of a document is finished. Other documents may still be decoded.
    fn summarized(&mut self, document: usize, summary: Summary) {
        let _ = (document, summary);
    }
}

impl Progress for () {}

/// Stops when `self.0` stops, and shows nothing: for a part of a longer work.
pub struct Cancelled<'a>(pub &'a dyn Progress);

impl Progress for Cancelled<'_> {
    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

/// A reader that reports its progress in bytes, and fails when the user asks to stop.
pub struct ProgressReader<'a, R> {
    reader: R,
    progress: &'a dyn Progress,
    interrupted: fn() -> io::Error,
}

impl<'a, R> ProgressReader<'a, R> {
    /// `interrupted` makes the error of a reader whose user asked to stop.
    pub fn new(reader: R, progress: &'a dyn Progress, interrupted: fn() -> io::Error) -> Self {
        Self { reader, progress, interrupted }
    }
}

impl<R: Read> Read for ProgressReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.progress.cancelled() {
            return Err((self.interrupted)());
        }
        let count = self.reader.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}
