//! What a search needs of a decoder, of a document, and of a tokenizer.

use std::time::Instant;

/// A decoder that a search drives one token at a time.
///
/// Rows are document-major: row = document * rows per document + beam, and rows per document
/// ([`rows_per_document`](super::GenerationConfig::rows_per_document)) never changes during a
/// search. All rows have the same length, so the step's number is their position.
pub trait StepModel {
    /// How a step fails.
    type Error;

    /// Tokens that the decoder scores, the length of one row of logits.
    fn vocab_size(&self) -> usize;

    /// Makes one decoder step.
    ///
    /// `tokens[row]` is the newest token of each row. `parents[row]` is the beam, within the row's
    /// document, whose history the row continues; on the first step each row continues itself.
    /// Returns the logits, row after row ([rows * vocabulary], f32), which the search may
    /// overwrite.
    ///
    /// # Errors
    /// Whatever keeps the decoder from scoring; the search ends with it.
    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<&mut [f32], Self::Error>;

    /// Keeps only these documents, ascending indices into those now decoding; the others are
    /// finished.
    ///
    /// Called between steps, and never with an empty list: when no document is left, the search
    /// just ends. The parents of the next step are given in terms of the documents kept.
    ///
    /// # Errors
    /// Whatever keeps the decoder from going on; the search ends with it.
    fn retain(&mut self, documents: &[usize]) -> Result<(), Self::Error>;

    /// The same decoder as one that reads drafts; `None` where it cannot.
    fn as_draft_model(&mut self) -> Option<&mut dyn DraftModel<Error = Self::Error>> {
        None
    }
}

/// A decoder of a single row that reads several tokens in one step, and can forget them again.
pub trait DraftModel {
    /// How a step fails.
    type Error;

    /// Reads `tokens` behind the row's history in one step. Returns the logits behind each of them
    /// ([tokens * vocabulary], f32), which the search may overwrite.
    ///
    /// # Errors
    /// Whatever keeps the decoder from scoring; the search ends with it.
    fn read(&mut self, tokens: &[u32]) -> Result<&mut [f32], Self::Error>;

    /// Forgets the newest `count` tokens of the row's history.
    fn forget(&mut self, count: usize);
}

/// What a search needs to know of one document.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The encoder's input ids, unpadded, the end token included.
    pub token_ids: &'a [u32],
    /// When generation for this document must end with what it has, beside `max_time`.
    pub deadline: Option<Instant>,
}

impl<'a> Source<'a> {
    /// A source without a deadline.
    #[must_use]
    pub fn new(token_ids: &'a [u32]) -> Self {
        Self { token_ids, deadline: None }
    }
}

/// Knows which token histories end in a stop string; the tokenizer's side implements it.
pub trait StopStrings: Send + Sync {
    /// Whether the text of `token_ids` (the decoder's whole history, newest last) ends in a stop
    /// string, or has one that the newest token completed.
    fn ends(&self, token_ids: &[u32]) -> bool;
}
