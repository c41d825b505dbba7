//! Following long work while it runs, and stopping it.

use crate::generation::Generated;
use crate::summary::Summary;

/// Receives the progress of long work, and says whether it should stop.
///
/// Every method has a default; `()` shows nothing and never stops. Documents are numbered as in the
/// call that they were given to.
pub trait Progress: Sync {
    /// A new piece of work begins: what it is, and the bytes it will go through (0: unknown).
    fn start(&self, what: &str, total_bytes: u64) {
        let _ = (what, total_bytes);
    }

    /// A new piece of work begins whose measure is a number of things, not of bytes.
    fn start_counted(&self, what: &str, total: u64) {
        self.start(what, total);
    }

    /// So many more bytes, or things, are done.
    fn advance(&self, amount: u64) {
        let _ = amount;
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

    /// A search finished a document, while others may go on.
    fn generated(&mut self, document: usize, generated: &Generated) {
        let _ = (document, generated);
    }

    /// The summary of a document is ready, while others may go on.
    fn summarized(&mut self, document: usize, summary: Summary) {
        let _ = (document, summary);
    }
}

impl Progress for () {}
