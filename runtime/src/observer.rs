//! Following documents while they are decoded.

/// Follows documents that are decoded together. `R` is the result of a document.
pub trait Observer<R> {
    /// Whether nobody waits for the document any more. Called before each step.
    fn cancelled(&mut self, document: usize) -> bool;

    /// A token became final. Only greedy search and sampling call this.
    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        let _ = (document, sequence, token);
    }

    /// A document ended: it is finished, it was cancelled, or it failed.
    fn ended(&mut self, document: usize, result: R);
}
