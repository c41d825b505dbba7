//! The best continuations of several beams, as diverse and constrained beam search rank them.

use super::super::processors::Context;
use super::super::scoring::normalizer::Normalizer;
use super::super::scoring::top_k::{Row, TopK};
use super::document_search::{Fault, Scratch};
use super::running::{Ranked, Running};

/// Context of the processors besides the tokens of a beam.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The encoder's input ids.
    pub(super) source: &'a [u32],
    /// Tokens that other groups chose at this step.
    pub(super) peers: &'a [u32],
}

/// Ranks the continuations of beams.
pub(super) struct Ranking {
    top: TopK,
    /// Normalizer of each row after the processors.
    normalizers: Vec<Normalizer>,
    best: Vec<Ranked>,
}

impl Ranking {
    /// Keeps this many continuations.
    pub(super) fn new(candidates: usize) -> Self {
        Self { top: TopK::new(candidates), normalizers: Vec::new(), best: Vec::new() }
    }

    /// The best continuations, best first. The processors change `logits`.
    pub(super) fn rank(
        &mut self,
        beams: &[Running],
        around: Surroundings<'_>,
        logits: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<&[Ranked], Fault> {
        self.top.clear();
        self.normalizers.clear();
        let vocab = scratch.vocab_size;
        for (number, (beam, row)) in beams.iter().zip(logits.chunks_exact_mut(vocab)).enumerate() {
            let context = Context::new(&beam.tokens, around.source).beside(around.peers);
            let normalizer = scratch.prepare(&context, row)?;
            self.normalizers.push(normalizer);
            self.top.offer_row(&Row {
                scores: row,
                maxima: &scratch.maxima,
                normalizer,
                running: beam.score,
                base: number * vocab,
            });
        }
        self.best.clear();
        let best = self.top.best().iter().map(|candidate| {
            let beam = candidate.index / vocab;
            let token_score = self.normalizers[beam].apply(logits[candidate.index]);
            Ranked {
                beam,
                token: (candidate.index % vocab) as u32,
                token_score,
                score: token_score + beams[beam].score,
            }
        });
        self.best.extend(best);
        Ok(&self.best)
    }

    /// The continuations that [`Self::rank`] found.
    pub(super) fn best(&self) -> &[Ranked] {
        &self.best
    }

    /// Log-probability of a processed logit in a row of the last [`Self::rank`].
    pub(super) fn log_probability(&self, beam: usize, logit: f32) -> f32 {
        self.normalizers[beam].apply(logit)
    }
}

/// Separates continuations, best first: calls `finish` for those that finish with an end token, and
/// returns the `size` that go on.
///
/// Only the best `size` may finish. The others are spares for running beams.
pub(super) fn part(
    ranked: &[Ranked],
    size: usize,
    is_end: impl Fn(u32) -> bool,
    mut finish: impl FnMut(&Ranked),
) -> Vec<Ranked> {
    let mut going_on = Vec::with_capacity(size);
    for (rank, choice) in ranked.iter().enumerate() {
        if !is_end(choice.token) {
            going_on.push(*choice);
        } else if rank < size {
            finish(choice);
        }
        if going_on.len() == size {
            break;
        }
    }
    going_on
}
