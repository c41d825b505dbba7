//! Following long work while it runs, and stopping it.

use crate::generation::Generated;
use crate::summary::Summary;

/// How much there is to do in a stage of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// Nobody knows beforehand.
    Unknown,
    /// So many bytes.
    Bytes(u64),
    /// So many items: documents, rows, files.
    Items(u64),
}

/// Receives the progress of long work, and says whether it should stop.
///
/// Every method has a default; `()` shows nothing and never stops. Documents are numbered as in the
/// call that they were given to.
pub trait Progress: Sync {
    /// A stage of the work begins: what it does, and how much there is to do.
    fn start(&self, what: &str, total: Total) {
        let _ = (what, total);
    }

    /// So much more of the stage is done, in the unit of its total.
    fn advance(&self, amount: u64) {
        let _ = amount;
    }

    /// The state of something that the work waits for, told each time it was asked for.
    fn state(&self, state: &str) {
        let _ = state;
    }

    /// A line to show, such as one of a log.
    fn note(&self, note: &str) {
        let _ = note;
    }

    /// Whether the user asked to stop. Long work asks at least every few megabytes.
    fn cancelled(&self) -> bool {
        false
    }

    /// Whether nobody waits for this document any more. A search asks before each step.
    fn document_cancelled(&mut self, document: usize) -> bool {
        let _ = document;
        self.cancelled()
    }

    /// A token became final. Only greedy search and sampling call this: beam search decides at the
    /// end.
    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        let _ = (document, sequence, token);
    }

    /// A search of [`generate`](crate::generation::generate) finished a document, while others may
    /// go on.
    fn generated(&mut self, document: usize, generated: &Generated) {
        let _ = (document, generated);
    }

    /// The summary of a document is ready, while others may go on.
    fn summarized(&mut self, document: usize, summary: Summary) {
        let _ = (document, summary);
    }
}

impl Progress for () {}

/// Stops work when another one's user asks to, and shows nothing of it: one summary of many, say.
pub struct Cancelled<'a>(pub &'a dyn Progress);

impl Progress for Cancelled<'_> {
    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}
