//! The best continuations of several beams, as diverse and constrained beam search rank them.

use super::super::processors::Context;
use super::super::scoring::normalizer::Normalizer;
use super::super::scoring::top_k::{Row, TopK};
use super::document_search::{Fault, Workspace};
use super::running::{Ranked, Running};

/// What the processors are told besides a beam's tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The encoder's input ids.
    pub(super) source: &'a [u32],
    /// Tokens chosen by other groups at this step.
    pub(super) peers: &'a [u32],
}

/// Ranks the continuations of beams.
pub(super) struct Ranking {
    top: TopK,
    /// How to read each row after processing.
    normalizers: Vec<Normalizer>,
    best: Vec<Ranked>,
}

impl Ranking {
    /// Ranks this many continuations.
    pub(super) fn new(candidates: usize) -> Self {
        Self { top: TopK::new(candidates), normalizers: Vec::new(), best: Vec::new() }
    }

    /// The best continuations, best first. The processors change `logits`.
    pub(super) fn rank(
        &mut self,
        beams: &[Running],
        around: Surroundings<'_>,
        logits: &mut [f32],
        workspace: &mut Workspace,
    ) -> Result<&[Ranked], Fault> {
        self.top.clear();
        self.normalizers.clear();
        let vocab = workspace.vocab_size;
        for (number, (beam, row)) in beams.iter().zip(logits.chunks_exact_mut(vocab)).enumerate() {
            let context = Context::new(&beam.tokens, around.source).beside(around.peers);
            let normalizer = workspace.prepare(&context, row)?;
            self.normalizers.push(normalizer);
            self.top.offer_row(&Row {
                scores: row,
                maxima: &workspace.maxima,
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

    /// Log-probability of a processed logit in a row that [`Self::rank`] has seen.
    pub(super) fn log_probability(&self, beam: usize, logit: f32) -> f32 {
        self.normalizers[beam].apply(logit)
    }
}

/// Parts continuations, best first, into those with an end token that may finish, which `finish` is
/// given, and the `size` that go on.
///
/// Only the best `size` may finish; the others are there to go on in their place.
pub(super) fn part(
    ranked: &[Ranked],
    size: usize,
    is_end: impl Fn(u32) -> bool,
    mut finish: impl FnMut(&Ranked),
) -> Vec<Ranked> {
    let mut going_on = Vec::with_capacity(size);
    for (place, choice) in ranked.iter().enumerate() {
        if !is_end(choice.token) {
            going_on.push(*choice);
        } else if place < size {
            finish(choice);
        }
        if going_on.len() == size {
            break;
        }
    }
    going_on
}
