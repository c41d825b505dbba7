//! Beam search and beam sampling.
//!
//! Implements `GenerationMixin._beam_search` (transformers 5.24.0) for one document, with the same
//! rounding. transformers rules out a choice by adding -1e9 in f32. This makes ties, and their
//! order decides, so both are reproduced.

use std::sync::Arc;

use epitome_kernels::simd::exp::exp;

use super::super::config::{Beams, GenerationConfig, Sampling};
use super::super::model::Source;
use super::super::outcome::{Hypothesis, StopReason};
use super::super::parameters::EarlyStopping;
use super::super::processors::Context;
use super::super::random::Key;
use super::super::scoring::BLOCK;
use super::super::scoring::normalizer::Normalizer;
use super::super::scoring::top_k::{Candidate, Row, TopK};
use super::super::scoring::torch_topk::torch_topk;
use super::super::stopping::StoppingCriteria;
use super::document_search::{DocumentSearch, Fault, Scratch};

/// Penalty of transformers that rules out a choice.
const IMPOSSIBLE: f32 = -1.0e9;

/// The beams of one document.
pub(super) struct BeamSearch {
    source: Arc<[u32]>,
    criteria: StoppingCriteria,
    settings: Beams,
    prompt_length: usize,
    /// Maximum number of generated tokens.
    max_new_tokens: usize,
    num_return_sequences: usize,
    with_token_scores: bool,
    /// Random numbers of beam sampling; `None` ranks candidates by score.
    random: Option<Key>,

    /// Running beams, best first.
    running: Vec<Beam>,
    /// The beam of the step before that each running beam continues.
    parents: Vec<u32>,
    /// The best hypotheses, best first. Unfinished ones fill the list until enough are finished.
    hypotheses: Vec<Beam>,
    top: TopK,
    buffers: Buffers,
}

/// A sequence and its score. The score of a running beam is its log-probability; that of a
/// hypothesis is also normalized by length.
#[derive(Debug, Clone, Default)]
struct Beam {
    tokens: Vec<u32>,
    token_scores: Vec<f32>,
    score: f32,
    finished: bool,
}

impl Beam {
    /// Becomes a copy of `other`, and keeps its allocations.
    fn copy(&mut self, other: &Self) {
        self.tokens.clone_from(&other.tokens);
        self.token_scores.clone_from(&other.token_scores);
        self.score = other.score;
        self.finished = other.finished;
    }

    /// Becomes `other`, extended by a token.
    fn extend(&mut self, other: &Self, choice: &Choice, with_token_scores: bool) {
        self.copy(other);
        self.tokens.push(choice.token);
        if with_token_scores {
            self.token_scores.push(choice.token_score);
        }
    }
}

/// A continuation of a running beam that is among the best.
#[derive(Debug, Clone, Copy)]
struct Choice {
    beam: usize,
    token: u32,
    /// Log-probability of the token alone.
    token_score: f32,
    /// Log-probability of the sequence.
    score: f32,
    /// Whether a stopping criterion ends the sequence here.
    stops: bool,
}

/// Buffers that all steps use.
#[derive(Default)]
struct Buffers {
    /// Normalizer of each row after the processors.
    normalizers: Vec<Normalizer>,
    choices: Vec<Choice>,
    scores: Vec<f32>,
    order: Vec<usize>,
    next: Vec<Beam>,
    history: Vec<u32>,
}

impl BeamSearch {
    pub(super) fn new(
        config: &GenerationConfig,
        source: &Source,
        settings: Beams,
        sampling: Option<&Sampling>,
    ) -> Self {
        let prompt = &config.lengths.prompt;
        let beams = settings.num_beams;
        let beam = |score| Beam { tokens: prompt.clone(), score, ..Beam::default() };
        // At first only the first beam counts, or all beams would choose the same tokens.
        let running = (0..beams).map(|number| beam(if number == 0 { 0.0 } else { IMPOSSIBLE }));
        Self {
            source: source.token_ids.clone(),
            criteria: StoppingCriteria::new(config, source),
            settings,
            prompt_length: prompt.len(),
            max_new_tokens: config.lengths.max_length - prompt.len(),
            num_return_sequences: config.num_return_sequences,
            with_token_scores: config.output_scores,
            random: sampling.map(|sampling| Key::new(sampling.seed, &source.token_ids)),
            running: running.collect(),
            parents: (0..beams).map(|number| number as u32).collect(),
            hypotheses: vec![beam(IMPOSSIBLE); beams],
            top: TopK::new(config.tokens.candidates_per_beam() * beams),
            buffers: Buffers { next: vec![Beam::default(); beams], ..Buffers::default() },
        }
    }

    /// Number of tokens generated so far.
    fn generated(&self) -> usize {
        self.length() - self.prompt_length
    }

    /// Finds the best continuations of all beams, and puts them into `top`.
    fn rank(&mut self, logits: &mut [f32], scratch: &mut Scratch) -> Result<(), Fault> {
        self.top.clear();
        self.buffers.normalizers.clear();
        let vocab = scratch.vocab_size;
        for (number, row) in logits.chunks_exact_mut(vocab).enumerate() {
            let beam = &self.running[number];
            let context = Context::new(&beam.tokens, &self.source);
            let normalizer = scratch.prepare(&context, row)?;
            self.buffers.normalizers.push(normalizer);
            let row = Row {
                scores: row,
                maxima: &scratch.maxima,
                normalizer,
                running: beam.score,
                base: number * vocab,
            };
            match self.random {
                None => self.top.offer_row(&row),
                Some(random) => {
                    let step = (beam.tokens.len() - self.prompt_length) as u64;
                    draw_row(&mut self.top, &row, random.at(step));
                }
            }
        }
        Ok(())
    }

    /// Turns the ranked candidates into choices. Returns the reason if all of them must stop.
    fn choose(&mut self, logits: &[f32], vocab: usize) -> Option<StopReason> {
        let cut = if self.criteria.at_max_length(self.length() + 1) {
            Some(StopReason::MaxLength)
        } else if self.criteria.out_of_time() {
            Some(StopReason::Deadline)
        } else {
            None
        };
        self.buffers.choices.clear();
        for candidate in self.top.best() {
            let beam = candidate.index / vocab;
            let token = (candidate.index % vocab) as u32;
            let token_score = self.buffers.normalizers[beam].apply(logits[candidate.index]);
            let mut stops = cut.is_some() || self.criteria.is_end(token);
            if !stops && self.criteria.has_stop_strings() {
                self.buffers.history.clone_from(&self.running[beam].tokens);
                self.buffers.history.push(token);
                stops = self.criteria.ends_in_stop_string(&self.buffers.history);
            }
            let score = token_score + self.running[beam].score;
            self.buffers.choices.push(Choice { beam, token, token_score, score, stops });
        }
        cut
    }

    /// Adds the choices that stop to the hypotheses, if they are good enough.
    fn update_hypotheses(&mut self) {
        let beams = self.settings.num_beams;
        let divisor = self.length_divisor(self.generated() + 1);
        let buffers = &mut self.buffers;
        buffers.scores.clear();
        buffers.scores.extend(self.hypotheses.iter().map(|hypothesis| hypothesis.score));
        // Only the best `num_beams` choices may finish. The other choices are spares for running
        // beams.
        let finishes = |rank: usize, choice: &Choice| choice.stops && rank < beams;
        for (rank, choice) in buffers.choices.iter().enumerate() {
            let penalty = if finishes(rank, choice) { 0.0 } else { IMPOSSIBLE };
            buffers.scores.push(choice.score / divisor + penalty);
        }
        best_of(&mut buffers.scores, beams, &mut buffers.order);
        if buffers.order.iter().enumerate().all(|(rank, chosen)| rank == *chosen) {
            return;
        }
        for (next, chosen) in buffers.next.iter_mut().zip(&buffers.order) {
            if let Some(known) = self.hypotheses.get(*chosen) {
                next.copy(known);
            } else {
                let rank = chosen - beams;
                let choice = &buffers.choices[rank];
                next.extend(&self.running[choice.beam], choice, self.with_token_scores);
                next.score = buffers.scores[*chosen];
                next.finished = finishes(rank, choice);
            }
        }
        std::mem::swap(&mut self.hypotheses, &mut buffers.next);
    }

    /// Makes the best choices that do not stop the running beams of the next step.
    fn update_running(&mut self) {
        let buffers = &mut self.buffers;
        buffers.scores.clear();
        buffers.scores.extend(
            buffers
                .choices
                .iter()
                .map(|choice| if choice.stops { choice.score + IMPOSSIBLE } else { choice.score }),
        );
        let beams = self.settings.num_beams;
        best_of(&mut buffers.scores, beams, &mut buffers.order);
        self.parents.clear();
        for (next, chosen) in buffers.next.iter_mut().zip(&buffers.order) {
            let choice = &buffers.choices[*chosen];
            next.extend(&self.running[choice.beam], choice, self.with_token_scores);
            next.score = buffers.scores[*chosen];
            self.parents.push(choice.beam as u32);
        }
        std::mem::swap(&mut self.running, &mut buffers.next);
    }

    /// Divisor of the log-probability of a sequence with this many generated tokens.
    fn length_divisor(&self, generated: usize) -> f32 {
        (generated as f64).powf(self.settings.length_penalty) as f32
    }

    /// Whether the best running beam may still beat a hypothesis, by the heuristic of
    /// `early_stopping`.
    fn improvement_possible(&self) -> bool {
        let hopeful = self.settings.early_stopping == EarlyStopping::Never
            && self.settings.length_penalty > 0.0;
        let length = if hopeful { self.max_new_tokens } else { self.generated() };
        let best = self.running[0].score / self.length_divisor(length);
        let worst = self.hypotheses.iter().map(|beam| beam.score).fold(f32::INFINITY, f32::min);
        self.hypotheses.iter().any(|beam| best > if beam.finished { worst } else { IMPOSSIBLE })
    }
}

/// Safety factor of the bound in [`draw`] against rounding.
const BOUND_ROUNDING: f64 = 1.001;

/// Offers the candidates of a row with random scores: the log-weight plus a Gumbel number. The
/// candidates with the greatest sums are then drawn by weight, without replacement and in order.
fn draw_row(top: &mut TopK, row: &Row<'_>, random: Key) {
    let score = |logit: f32| row.normalizer.apply(logit) + row.running;
    for (number, (block, max)) in row.scores.chunks(BLOCK).zip(row.maxima).enumerate() {
        // Filters leave few tokens: in most blocks no Gumbel number could lift a token above the
        // threshold.
        let hopeless = |threshold: f32| score(*max) - threshold < -Key::MAX_GUMBEL;
        if top.threshold().is_some_and(hopeless) {
            continue;
        }
        for (offset, logit) in block.iter().enumerate() {
            let index = row.base + number * BLOCK + offset;
            draw(top, score(*logit), index, random);
        }
    }
}

/// Offers one candidate with a random score.
fn draw(top: &mut TopK, score: f32, index: usize, random: Key) {
    // A forbidden token only fills the list.
    if score == f32::NEG_INFINITY {
        top.offer(Candidate { score, index });
        return;
    }
    let random = random.at(index as u64);
    // Most tokens cannot reach the threshold with any random number, and most others do not with
    // theirs. A bound shows this without logarithms: chance > threshold requires
    // uniform > exp(-exp(score - threshold)) > 1 - exp(score - threshold).
    if let Some(threshold) = top.threshold() {
        let behind = (score - threshold).min(0.0);
        if behind < -Key::MAX_GUMBEL
            || 1.0 - random.uniform() > f64::from(exp(behind)) * BOUND_ROUNDING
        {
            return;
        }
    }
    let chance = (f64::from(score) + random.gumbel()) as f32;
    top.offer(Candidate { score: chance, index });
}

/// Indices of the `keep` greatest scores, in the order of `torch.topk`.
fn best_of(scores: &mut [f32], keep: usize, order: &mut Vec<usize>) {
    // NaN (0 divided by 0, for an extreme length_penalty) is the worst score.
    for score in scores.iter_mut().filter(|score| score.is_nan()) {
        *score = f32::NEG_INFINITY;
    }
    torch_topk(scores, keep, order);
}

impl DocumentSearch for BeamSearch {
    fn feed(&self, tokens: &mut Vec<u32>, parents: &mut Vec<u32>) {
        tokens.extend(self.running.iter().filter_map(|beam| beam.tokens.last()));
        parents.extend_from_slice(&self.parents);
    }

    fn advance(
        &mut self,
        logits: &mut [f32],
        scratch: &mut Scratch,
        _: &mut dyn FnMut(usize, u32),
    ) -> Result<Option<StopReason>, Fault> {
        self.rank(logits, scratch)?;
        let cut = self.choose(logits, scratch.vocab_size);
        self.update_hypotheses();
        self.update_running();

        let enough = self.settings.early_stopping == EarlyStopping::True
            && self.hypotheses.iter().all(|hypothesis| hypothesis.finished);
        let all_stop = self.buffers.choices.iter().all(|choice| choice.stops);
        Ok(if let Some(cut) = cut {
            Some(cut)
        } else if enough || all_stop || !self.improvement_possible() {
            Some(StopReason::Finished)
        } else {
            None
        })
    }

    fn length(&self) -> usize {
        self.running[0].tokens.len()
    }

    fn conclude(&mut self, stopped: StopReason) -> Vec<Hypothesis> {
        self.hypotheses
            .drain(..)
            .filter(|hypothesis| hypothesis.finished || stopped != StopReason::Cancelled)
            .take(self.num_return_sequences)
            .map(|hypothesis| Hypothesis {
                token_ids: hypothesis.tokens,
                score: Some(hypothesis.score),
                token_scores: self.with_token_scores.then_some(hypothesis.token_scores),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_the_worst_score() {
        let mut order = Vec::new();
        best_of(&mut [1.0, f32::NAN, 2.0], 3, &mut order);
        assert_eq!(order, [2, 0, 1]);
    }

    #[test]
    fn candidates_are_drawn_by_weight_without_replacement() {
        // Drawing two of three candidates: the order (a, b) has the probability a * b / (1 - a).
        let weights = [0.6_f64, 0.1, 0.3];
        let scores = weights.map(|weight| weight.ln() as f32);
        let key = Key::new(11, &[4]);
        let draws = 10_000;
        let mut counts = [[0_u32; 3]; 3];
        let mut top = TopK::new(2);
        for step in 0..draws {
            top.clear();
            let row = Row {
                scores: &scores,
                maxima: &[0.0],
                normalizer: Normalizer::IDENTITY,
                running: 0.0,
                base: 0,
            };
            draw_row(&mut top, &row, key.at(step));
            counts[top.best()[0].index][top.best()[1].index] += 1;
        }
        let mut chi = 0.0;
        for (first, one) in weights.iter().enumerate() {
            for (second, other) in weights.iter().enumerate() {
                let drawn = f64::from(counts[first][second]);
                if first == second {
                    assert_eq!(drawn, 0.0);
                } else {
                    let expected = one * other / (1.0 - one) * draws as f64;
                    chi += (drawn - expected).powi(2) / expected;
                }
            }
        }
        assert!(chi < 20.5, "chi-square {chi} with 5 degrees of freedom, p < 0.001");
    }
}
