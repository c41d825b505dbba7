//! Diverse beam search: each group of beams avoids the tokens that groups before it chose.
//!
//! Implements `GenerationMixin._group_beam_search` with `BeamSearchScorer` (transformers 4.46.3)
//! for one document. The logits processor `diversity_penalty` keeps the groups apart.

use std::sync::Arc;

use super::super::config::{Beams, GenerationConfig};
use super::super::model::Source;
use super::super::outcome::{Hypothesis, StopReason};
use super::super::stopping::StoppingCriteria;
use super::document_search::{DocumentSearch, Fault, Scratch};
use super::hypotheses::{BeamHypotheses, Finalizer};
use super::ranking::{Ranking, Surroundings, part};
use super::running::Running;

/// The groups of beams of one document.
pub(super) struct GroupBeamSearch {
    source: Arc<[u32]>,
    criteria: StoppingCriteria,
    finalizer: Finalizer,
    /// Token that is fed to groups that are done while others are not.
    pad: u32,
    groups: Vec<Group>,
    /// Tokens that earlier groups chose at this step.
    chosen: Vec<u32>,
}

struct Group {
    running: Vec<Running>,
    /// Buffer for the beams of the next step.
    next: Vec<Running>,
    /// The beam of the group that each running beam continues.
    parents: Vec<usize>,
    ranking: Ranking,
    hypotheses: BeamHypotheses,
    done: bool,
}

impl GroupBeamSearch {
    /// Starts a search. `groups` divides the number of beams.
    pub(super) fn new(
        config: &GenerationConfig,
        source: &Source,
        settings: Beams,
        groups: usize,
    ) -> Self {
        let prompt = &config.lengths.prompt;
        let size = settings.num_beams / groups;
        let group = || Group {
            running: Running::start(prompt, size),
            next: vec![Running::default(); size],
            parents: (0..size).collect(),
            ranking: Ranking::new(config.tokens.candidates_per_beam() * size),
            hypotheses: BeamHypotheses::new(config, settings, size),
            done: false,
        };
        Self {
            source: source.token_ids.clone(),
            criteria: StoppingCriteria::new(config, source),
            finalizer: Finalizer::new(config),
            pad: config.tokens.pad,
            groups: (0..groups).map(|_| group()).collect(),
            chosen: Vec::new(),
        }
    }
}

impl Group {
    /// Extends each beam by a token. Beams that end go to the hypotheses, and others replace them.
    fn advance(
        &mut self,
        criteria: &StoppingCriteria,
        around: Surroundings<'_>,
        logits: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), Fault> {
        let ranked = self.ranking.rank(&self.running, around, logits, scratch)?;
        let is_end = |token| criteria.is_end(token);
        let (running, hypotheses) = (&self.running, &mut self.hypotheses);
        let going_on = part(ranked, running.len(), is_end, |end| {
            hypotheses.finish(&running[end.beam], end);
        });
        self.parents.clear();
        for (next, choice) in self.next.iter_mut().zip(&going_on) {
            next.extend(&self.running[choice.beam], choice);
            self.parents.push(choice.beam);
        }
        std::mem::swap(&mut self.running, &mut self.next);
        let best = ranked.first().map_or(f32::NEG_INFINITY, |best| best.score);
        self.done = self.hypotheses.are_final(best, self.running[0].tokens.len());
        Ok(())
    }

    /// Pads a group that is done: all beams become the first one, extended by padding. Other groups
    /// still avoid these tokens.
    fn pad(&mut self, pad: u32) {
        self.parents.fill(0);
        let (first, others) = self.running.split_at_mut(1);
        for other in others {
            other.tokens.clone_from(&first[0].tokens);
        }
        for beam in &mut self.running {
            beam.tokens.push(pad);
            beam.score = 0.0;
        }
    }
}

impl DocumentSearch for GroupBeamSearch {
    fn feed(&self, tokens: &mut Vec<u32>, parents: &mut Vec<u32>) {
        for (number, group) in self.groups.iter().enumerate() {
            let first = number * group.running.len();
            tokens.extend(group.running.iter().filter_map(|beam| beam.tokens.last()));
            parents.extend(group.parents.iter().map(|parent| (first + parent) as u32));
        }
    }

    fn advance(
        &mut self,
        logits: &mut [f32],
        scratch: &mut Scratch,
        _: &mut dyn FnMut(usize, u32),
    ) -> Result<Option<StopReason>, Fault> {
        self.chosen.clear();
        let size = self.groups[0].running.len();
        let shares = logits.chunks_exact_mut(size * scratch.vocab_size);
        for (group, share) in self.groups.iter_mut().zip(shares) {
            if group.done {
                group.pad(self.pad);
            } else {
                let around = Surroundings { source: &self.source, peers: &self.chosen };
                group.advance(&self.criteria, around, share, scratch)?;
            }
            let newest = group.running.iter().filter_map(|beam| beam.tokens.last());
            self.chosen.extend(newest);
        }
        if self.groups.iter().all(|group| group.done) {
            return Ok(Some(StopReason::Finished));
        }
        let running = self.groups.iter().flat_map(|group| &group.running);
        Ok(self.criteria.end_all(running.map(|beam| beam.tokens.as_slice())))
    }

    fn length(&self) -> usize {
        self.groups[0].running[0].tokens.len()
    }

    fn conclude(&mut self, stopped: StopReason) -> Vec<Hypothesis> {
        for group in &mut self.groups {
            if !group.done && stopped != StopReason::Cancelled {
                for beam in &group.running {
                    group.hypotheses.leave_open(beam);
                }
            }
        }
        let hypotheses = self.groups.iter_mut().map(|group| &mut group.hypotheses);
        self.finalizer.select(hypotheses)
    }
}
