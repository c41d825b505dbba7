//! What every search of one document has in common.

use super::super::outcome::{Hypothesis, StopReason};
use super::super::processors::{Context, Effect, LogitsProcessors};
use super::super::scoring::normalizer::{Normalizer, block_maxima, materialize, normalize};

/// The search of one document: which tokens its rows feed to the decoder, and what becomes of the
/// logits.
pub(super) trait DocumentSearch: Send {
    /// Appends the newest token of each row, and the row of this document whose history it
    /// continues.
    fn feed(&self, tokens: &mut Vec<u32>, parents: &mut Vec<u32>);

    /// Takes the logits of this document's rows and moves one token on. `Some` is the end of the
    /// search.
    ///
    /// `emit` is told of tokens that are final: (sequence, token).
    fn advance(
        &mut self,
        logits: &mut [f32],
        workspace: &mut Workspace,
        emit: &mut dyn FnMut(usize, u32),
    ) -> Result<Option<StopReason>, Fault>;

    /// The history of the only row, where there is one that grows token by token.
    fn only_history(&self) -> Option<&[u32]> {
        None
    }

    /// Tokens in the rows' histories.
    fn length(&self) -> usize;

    /// The sequences, best first.
    fn conclude(&mut self, stopped: StopReason) -> Vec<Hypothesis>;
}

/// Why scores could not be used; the loop adds where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    NotANumber,
    NothingToSample,
}

/// What a search works with: its processors, and scratch space that keeps steps free of
/// allocations.
pub(super) struct Workspace {
    pub(super) processors: LogitsProcessors,
    pub(super) vocab_size: usize,
    /// Maxima of a row's blocks.
    pub(super) maxima: Vec<f32>,
    /// Sums of a row's blocks.
    pub(super) sums: Vec<f32>,
}

impl Workspace {
    /// Lets the processors change a row of a beam, and says how to read it then. Leaves the maxima
    /// of its blocks, or what is no less, behind.
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
            // Scores only fall, so the maxima still bound them.
            self.processors.process(context, row);
        }
        Ok(normalizer)
    }
}
