//! What a search needs of a decoder, of a document, and of a tokenizer.

use std::sync::Arc;
use std::time::Instant;

/// A decoder that searches drive, for several documents at once.
///
/// Documents have numbers. Each is at a length of its own, and joins and leaves at any step.
pub trait StepModel {
    /// How a step fails.
    type Error;

    /// Tokens that the decoder scores, the length of one row of logits.
    fn vocab_size(&self) -> usize;

    /// Makes one decoder step for these documents, each of which has joined and is named once.
    /// Returns the logits behind every new token, in the order of the feeds ([rows * vocabulary],
    /// f32), which the searches may overwrite.
    ///
    /// # Errors
    /// Whatever keeps the decoder from scoring; the searches end with it.
    fn step(&mut self, feeds: &[Feed<'_>]) -> Result<&mut [f32], Self::Error>;

    /// A document is finished.
    fn leave(&mut self, document: usize);
}

/// What a document feeds to a step.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    /// The document's number.
    pub document: usize,
    /// Tokens of each history before the first new one. What a step before left behind them is
    /// forgotten.
    pub past: usize,
    /// The new tokens, one a row of the step.
    pub tokens: &'a [u32],
    /// Which histories the rows continue.
    pub rows: Rows<'a>,
}

/// Which histories of a document the rows of a step continue.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// One row for each beam: the beam whose history it continues. On the first step each continues
    /// itself.
    Beams(&'a [u32]),
    /// Successive tokens of the document's only history, which verify a draft.
    Successive,
}

impl Feed<'_> {
    /// Tokens of the longest history, the new ones included.
    pub(crate) fn longest(&self) -> usize {
        self.past
            + match self.rows {
                Rows::Beams(_) => 1,
                Rows::Successive => self.tokens.len(),
            }
    }
}

/// What a search needs to know of one document.
#[derive(Debug, Clone)]
pub struct Source {
    /// The encoder's input ids, unpadded, the end token included.
    pub token_ids: Arc<[u32]>,
    /// When generation for this document must end with what it has, beside `max_time`.
    pub deadline: Option<Instant>,
}

impl Source {
    /// A source without a deadline.
    #[must_use]
    pub fn new(token_ids: &[u32]) -> Self {
        Self { token_ids: token_ids.into(), deadline: None }
    }
}

/// Knows which token histories end in a stop string; the tokenizer's side implements it.
pub trait StopStrings: Send + Sync {
    /// Whether the text of `token_ids` (the decoder's whole history, newest last) ends in a stop
    /// string, or has one that the newest token completed.
    fn ends(&self, token_ids: &[u32]) -> bool;
}
