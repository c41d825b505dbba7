//! Following a search while it runs.

use super::outcome::Generated;

/// Follows a search: streaming of tokens and cancellation. Every method has a default; `()` observes nothing.
///
/// Documents are numbered as in the call to [`generate`](super::generate).
pub trait Observer {
    /// A token became final. Greedy search and sampling only: beam search decides at the end.
    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        let _ = (document, sequence, token);
    }

    /// A document is finished, while others may go on.
    fn finished(&mut self, document: usize, generated: &Generated) {
        let _ = (document, generated);
    }

    /// Whether nobody wants this document any more; asked before each step.
    fn cancelled(&mut self, document: usize) -> bool {
        let _ = document;
        false
    }
}

impl Observer for () {}
