//! Constrained beam search: the output contains given tokens.
//!
//! Implements `GenerationMixin._constrained_beam_search` with `ConstrainedBeamSearchScorer`
//! (transformers 4.46.3) for one document.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::config::{Beams, GenerationConfig};
use super::super::model::Source;
use super::super::outcome::{Hypothesis, StopReason};
use super::super::parameters::Constraint;
use super::super::stopping::StoppingCriteria;
use super::constraint_state::{ConstraintState, Constraints};
use super::document_search::{DocumentSearch, Fault, Scratch};
use super::hypotheses::{BeamHypotheses, Finalizer};
use super::ranking::{Ranking, Surroundings, part};
use super::running::{Ranked, Running};

/// The beams of one document.
pub(super) struct ConstrainedBeamSearch {
    source: Arc<[u32]>,
    criteria: StoppingCriteria,
    finalizer: Finalizer,
    constraints: Constraints,
    running: Vec<Running>,
    /// The constraints that each running beam has fulfilled.
    states: Vec<ConstraintState>,
    /// Buffer for the beams of the next step.
    next: Vec<Running>,
    /// The beam of the step before that each running beam continues.
    parents: Vec<usize>,
    ranking: Ranking,
    hypotheses: BeamHypotheses,
    done: bool,
}

/// A continuation and its bank.
#[derive(Debug, Clone, Copy)]
struct Banked {
    choice: Ranked,
    bank: usize,
}

impl ConstrainedBeamSearch {
    pub(super) fn new(
        config: &GenerationConfig,
        source: &Source,
        settings: Beams,
        constraints: &[Constraint],
    ) -> Self {
        let prompt = &config.lengths.prompt;
        let beams = settings.num_beams;
        let constraints = Constraints::new(constraints);
        Self {
            source: source.token_ids.clone(),
            criteria: StoppingCriteria::new(config, source),
            finalizer: Finalizer::new(config),
            running: Running::start(prompt, beams),
            states: vec![ConstraintState::of(&constraints, prompt); beams],
            next: vec![Running::default(); beams],
            parents: (0..beams).collect(),
            ranking: Ranking::new(config.tokens.candidates_per_beam() * beams),
            hypotheses: BeamHypotheses::new(config, settings, beams),
            constraints,
            done: false,
        }
    }

    /// The continuations of the next step: the best ones and those that advance a constraint, taken
    /// from each bank in turn.
    fn balance(&self, best: Vec<Ranked>, logits: &[f32], vocab: usize) -> Vec<Ranked> {
        // Beams may hold the same tokens, as all do at first. The first one then represents them.
        let original = |beam: usize| {
            let same = |other: &Running| other.tokens == self.running[beam].tokens;
            self.running.iter().position(same).unwrap_or(beam)
        };
        let originals: Vec<usize> = (0..self.running.len()).map(original).collect();
        let mut known: HashSet<(usize, u32)> =
            best.iter().map(|choice| (originals[choice.beam], choice.token)).collect();

        let beams = best.len();
        let bank = |choice: &Ranked| {
            let longer = self.states[choice.beam].with(&self.constraints, choice.token);
            longer.bank(&self.constraints)
        };
        let banked = |choice: Ranked| Banked { bank: bank(&choice), choice };
        let mut all: Vec<Banked> = best.into_iter().map(banked).collect();
        for (number, state) in self.states.iter().enumerate() {
            if state.is_complete() {
                continue;
            }
            let row = &logits[number * vocab..][..vocab];
            for (token, bank) in state.advances(&self.constraints) {
                if known.insert((originals[number], token)) {
                    let token_score = self.ranking.log_probability(number, row[token as usize]);
                    let choice = Ranked {
                        beam: number,
                        token,
                        token_score,
                        score: token_score + self.running[number].score,
                    };
                    all.push(Banked { choice, bank });
                }
            }
        }
        if all.len() > beams {
            take_in_turn(&mut all);
        }
        all.into_iter().map(|one| one.choice).take(beams).collect()
    }
}

/// Orders continuations: first the best of each bank, from the highest bank down, then the second
/// best of each bank, and so on.
///
/// Continuations are sorted by their log-probability plus 100 times their bank. If the
/// log-probabilities lie further apart, the banks mingle, and each run of one bank is counted anew,
/// as in transformers.
fn take_in_turn(all: &mut Vec<Banked>) {
    let weight = |one: &Banked| (one.bank * 100) as f32 + one.choice.score + 0.0;
    all.sort_by(|left, right| weight(right).total_cmp(&weight(left)));
    let mut rank = 0;
    let mut ranked: Vec<(usize, Banked)> = Vec::with_capacity(all.len());
    for one in all.drain(..) {
        rank = match ranked.last() {
            Some((_, before)) if before.bank == one.bank => rank + 1,
            _ => 0,
        };
        ranked.push((rank, one));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    all.extend(ranked.into_iter().map(|(_, one)| one));
}

impl DocumentSearch for ConstrainedBeamSearch {
    fn feed(&self, tokens: &mut Vec<u32>, parents: &mut Vec<u32>) {
        tokens.extend(self.running.iter().filter_map(|beam| beam.tokens.last()));
        parents.extend(self.parents.iter().map(|parent| *parent as u32));
    }

    fn advance(
        &mut self,
        logits: &mut [f32],
        scratch: &mut Scratch,
        _: &mut dyn FnMut(usize, u32),
    ) -> Result<Option<StopReason>, Fault> {
        let around = Surroundings { source: &self.source, peers: &[] };
        self.ranking.rank(&self.running, around, logits, scratch)?;
        let is_end = |token| self.criteria.is_end(token);
        let (running, states, hypotheses) = (&self.running, &self.states, &mut self.hypotheses);
        let best = part(self.ranking.best(), running.len(), is_end, |end| {
            if states[end.beam].is_complete() {
                hypotheses.finish(&running[end.beam], end);
            }
        });
        let going_on = self.balance(best, logits, scratch.vocab_size);

        self.parents.clear();
        let mut states = Vec::with_capacity(going_on.len());
        for (next, choice) in self.next.iter_mut().zip(&going_on) {
            next.extend(&self.running[choice.beam], choice);
            self.parents.push(choice.beam);
            states.push(self.states[choice.beam].with(&self.constraints, choice.token));
        }
        std::mem::swap(&mut self.running, &mut self.next);
        self.states = states;

        let best = self.ranking.best().first();
        let best = best.map_or(f32::NEG_INFINITY, |best| best.score);
        self.done = self.hypotheses.are_final(best, self.length());
        if self.done {
            return Ok(Some(StopReason::Finished));
        }
        let histories = self.running.iter().map(|beam| beam.tokens.as_slice());
        Ok(self.criteria.end_all(histories))
    }

    fn length(&self) -> usize {
        self.running[0].tokens.len()
    }

    fn conclude(&mut self, stopped: StopReason) -> Vec<Hypothesis> {
        if !self.done && stopped != StopReason::Cancelled {
            let beams = self.running.iter().zip(&self.states);
            let (complete, incomplete): (Vec<_>, Vec<_>) =
                beams.partition(|(_, state)| state.is_complete());
            // If too few beams fulfil the constraints within the length, the others are returned
            // too.
            let others = if complete.len() < self.finalizer.num_return_sequences() {
                incomplete
            } else {
                Vec::new()
            };
            for (beam, _) in complete.into_iter().chain(others) {
                self.hypotheses.leave_open(beam);
            }
        }
        self.finalizer.select(std::iter::once(&mut self.hypotheses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banks_take_turns_and_mingle_where_scores_lie_far_apart() {
        let banked = |token, bank, score| Banked {
            choice: Ranked { beam: 0, token, token_score: 0.0, score },
            bank,
        };
        let mut all = vec![
            banked(1, 0, -1.0),
            banked(2, 0, -2.0),
            banked(3, 1, -9.0),
            banked(4, 2, -8.0),
            banked(5, 1, -7.0),
            banked(6, 2, -300.0),
        ];
        take_in_turn(&mut all);
        let order: Vec<u32> = all.iter().map(|one| one.choice.token).collect();
        assert_eq!(order, [4, 5, 1, 6, 3, 2]);
    }
}
