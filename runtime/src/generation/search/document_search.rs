//! The interface of every search of one document.

use super::super::outcome::{Hypothesis, StopReason};
use super::super::processors::{Context, Effect, LogitsProcessors};
use super::super::scoring::normalizer::{Normalizer, block_maxima, materialize, normalize};

/// The search of one document: the tokens that its rows feed to the decoder, and the choice from
/// the logits.
pub(super) trait DocumentSearch: Send {
    /// Appends the newest token of each row, and the row of this document whose history it
    /// continues.
    fn feed(&self, tokens: &mut Vec<u32>, parents: &mut Vec<u32>);

    /// Chooses the next token of each row from the logits of this document's rows. Returns `Some`
    /// if the search ended.
    ///
    /// Calls `emit` with each final token: (sequence, token).
    fn advance(
        &mut self,
        logits: &mut [f32],
        scratch: &mut Scratch,
        emit: &mut dyn FnMut(usize, u32),
    ) -> Result<Option<StopReason>, Fault>;

    /// The history of the only row, if the search has one row that grows token by token.
    fn only_history(&self) -> Option<&[u32]> {
        None
    }

    /// Number of tokens in the history of each row.
    fn length(&self) -> usize;

    /// The sequences, best first.
    fn conclude(&mut self, stopped: StopReason) -> Vec<Hypothesis>;
}

/// Why scores could not be used; the caller adds document and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    NotANumber,
    NothingToSample,
}

/// The processors of a search, and buffers that its steps use again.
pub(super) struct Scratch {
    pub(super) processors: LogitsProcessors,
    pub(super) vocab_size: usize,
    /// Maximum of each block of a row.
    pub(super) maxima: Vec<f32>,
    /// Sum of each block of a row.
    pub(super) sums: Vec<f32>,
}

impl Scratch {
    /// Lets the processors change the logits of a beam, and returns the normalizer to read them
    /// with. `maxima` then holds an upper bound for each block of the row.
    pub(super) fn prepare(
        &mut self,
        context: &Context<'_>,
        row: &mut [f32],
    ) -> Result<Normalizer, Fault> {
        let effect = self.processors.effect(context);
        let normalizer = normalize(row, &mut self.maxima, &mut self.sums);
        if effect == Effect::Rewrites {
            materialize(row, normalizer);
            self.processors.process(context, row);
            let nan = block_maxima(row, &mut self.maxima);
            return if nan { Err(Fault::NotANumber) } else { Ok(Normalizer::IDENTITY) };
        }
        if !normalizer.is_valid() {
            return Err(Fault::NotANumber);
        }
        if effect == Effect::Forbids {
            // Scores only fall, so the maxima are still upper bounds.
            self.processors.process(context, row);
        }
        Ok(normalizer)
    }
}
