//! The interfaces of a search to a decoder, a document and a tokenizer.

use std::sync::Arc;
use std::time::Instant;

/// A decoder for the searches of several documents.
///
/// Each document has a number and its own length, and joins and leaves at any step.
pub trait StepModel {
    /// Error of a step.
    type Error;

    /// Number of tokens that the decoder scores: the length of one row of logits.
    fn vocab_size(&self) -> usize;

    /// Makes one decoder step for these documents. Each document has joined and occurs once.
    /// Returns the logits after every new token, in the order of the feeds: `[rows * vocabulary]`,
    /// f32. The searches may overwrite them.
    ///
    /// # Errors
    /// If the decoder fails. All searches then end.
    fn step(&mut self, feeds: &[Feed<'_>]) -> Result<&mut [f32], Self::Error>;

    /// A document leaves.
    fn leave(&mut self, document: usize);
}

/// The input of a document to a step.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    /// Number of the document.
    pub document: usize,
    /// Number of tokens of each history before the first new one. Later tokens of an earlier step
    /// are discarded.
    pub past: usize,
    /// The new tokens, one for each row of the step.
    pub tokens: &'a [u32],
    /// The histories that the rows continue.
    pub rows: Rows<'a>,
}

/// The histories of a document that the rows of a step continue.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// One row for each beam: the index of the beam whose history it continues. On the first step
    /// each beam continues itself.
    Beams(&'a [u32]),
    /// The rows are successive tokens of the document's only history, to verify a draft.
    Successive,
}

impl Feed<'_> {
    /// Number of tokens in the longest history, including the new ones.
    pub(crate) fn longest(&self) -> usize {
        self.past
            + match self.rows {
                Rows::Beams(_) => 1,
                Rows::Successive => self.tokens.len(),
            }
    }
}

/// The source of one document.
#[derive(Debug, Clone)]
pub struct Source {
    /// The encoder's input ids, including the end token, without padding.
    pub token_ids: Arc<[u32]>,
    /// Deadline of generation for this document, besides `max_time`.
    pub deadline: Option<Instant>,
}

impl Source {
    /// Creates a source without a deadline.
    #[must_use]
    pub fn new(token_ids: &[u32]) -> Self {
        Self { token_ids: token_ids.into(), deadline: None }
    }
}

/// Decides whether a token history ends in a stop string.
pub trait StopStrings: Send + Sync {
    /// Whether the text of `token_ids` ends in a stop string, or contains one that the newest token
    /// completed. `token_ids` is the whole history of the decoder, newest token last.
    fn ends(&self, token_ids: &[u32]) -> bool;
}
