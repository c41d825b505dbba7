//! Beam search and beam sampling.
//!
//! Implements `GenerationMixin._beam_search` (transformers 5.24.0) for one document, whose
//! arithmetic is kept to the rounding: "impossible" is a penalty of -1e9 added in f32 there, which
//! makes ties that a cleaner formulation would not have, and an order of those ties.

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
use super::document_search::{DocumentSearch, Fault, Workspace};

/// transformers' stand-in for minus infinity.
const IMPOSSIBLE: f32 = -1.0e9;

/// The beams of one document.
pub(super) struct BeamSearch {
    source: Arc<[u32]>,
    criteria: StoppingCriteria,
    settings: Beams,
    prompt_length: usize,
    /// Greatest length of generated tokens.
    max_new_tokens: usize,
    num_return_sequences: usize,
    with_token_scores: bool,
    /// Where draws come from; `None` ranks.
    random: Option<Key>,

    /// Beams that go on, best first.
    running: Vec<Beam>,
    /// The beam that each running one continues.
    parents: Vec<u32>,
    /// The best hypotheses, best first; until there are enough, unfinished ones stand for those
    /// missing.
    hypotheses: Vec<Beam>,
    top: TopK,
    scratch: Scratch,
}

/// A sequence and its score: accumulated log-probability while running, normalized by length once a
/// hypothesis.
#[derive(Debug, Clone, Default)]
struct Beam {
    tokens: Vec<u32>,
    token_scores: Vec<f32>,
    score: f32,
    finished: bool,
}

impl Beam {
    /// Becomes `other`, without giving up what is allocated.
    fn copy(&mut self, other: &Self) {
        self.tokens.clone_from(&other.tokens);
        self.token_scores.clone_from(&other.token_scores);
        self.score = other.score;
        self.finished = other.finished;
    }

    /// Becomes `other` with a token more.
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

/// Buffers that live from step to step.
#[derive(Default)]
struct Scratch {
    /// How to read each row after processing.
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
        // Only the first beam counts at first, or all would find the same tokens.
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
            scratch: Scratch { next: vec![Beam::default(); beams], ..Scratch::default() },
        }
    }

    /// Tokens generated so far.
    fn generated(&self) -> usize {
        self.length() - self.prompt_length
    }

    /// Finds the best continuations over all beams, into `top`.
    fn rank(&mut self, logits: &mut [f32], workspace: &mut Workspace) -> Result<(), Fault> {
        self.top.clear();
        self.scratch.normalizers.clear();
        let vocab = workspace.vocab_size;
        for (number, row) in logits.chunks_exact_mut(vocab).enumerate() {
            let beam = &self.running[number];
            let context = Context::new(&beam.tokens, &self.source);
            let normalizer = workspace.prepare(&context, row)?;
            self.scratch.normalizers.push(normalizer);
            let row = Row {
                scores: row,
                maxima: &workspace.maxima,
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

    /// Turns the ranked candidates into choices, and says which of them stop.
    fn choose(&mut self, logits: &[f32], vocab: usize) -> Option<StopReason> {
        let cut = if self.criteria.at_max_length(self.length() + 1) {
            Some(StopReason::MaxLength)
        } else if self.criteria.out_of_time() {
            Some(StopReason::Deadline)
        } else {
            None
        };
        self.scratch.choices.clear();
        for candidate in self.top.best() {
            let beam = candidate.index / vocab;
            let token = (candidate.index % vocab) as u32;
            let token_score = self.scratch.normalizers[beam].apply(logits[candidate.index]);
            let mut stops = cut.is_some() || self.criteria.is_end(token);
            if !stops && self.criteria.has_stop_strings() {
                self.scratch.history.clone_from(&self.running[beam].tokens);
                self.scratch.history.push(token);
                stops = self.criteria.ends_in_stop_string(&self.scratch.history);
            }
            let score = token_score + self.running[beam].score;
            self.scratch.choices.push(Choice { beam, token, token_score, score, stops });
        }
        cut
    }

    /// Puts choices that stop among the hypotheses, where they are good enough.
    fn update_hypotheses(&mut self) {
        let beams = self.settings.num_beams;
        let divisor = self.length_divisor(self.generated() + 1);
        let scratch = &mut self.scratch;
        scratch.scores.clear();
        scratch.scores.extend(self.hypotheses.iter().map(|hypothesis| hypothesis.score));
        // Only the best `num_beams` choices may finish; the others are there to go on in their
        // place.
        let finishes = |place: usize, choice: &Choice| choice.stops && place < beams;
        for (place, choice) in scratch.choices.iter().enumerate() {
            let penalty = if finishes(place, choice) { 0.0 } else { IMPOSSIBLE };
            scratch.scores.push(choice.score / divisor + penalty);
        }
        best_of(&mut scratch.scores, beams, &mut scratch.order);
        if scratch.order.iter().enumerate().all(|(place, chosen)| place == *chosen) {
            return;
        }
        for (next, chosen) in scratch.next.iter_mut().zip(&scratch.order) {
            if let Some(known) = self.hypotheses.get(*chosen) {
                next.copy(known);
            } else {
                let place = chosen - beams;
                let choice = &scratch.choices[place];
                next.extend(&self.running[choice.beam], choice, self.with_token_scores);
                next.score = scratch.scores[*chosen];
                next.finished = finishes(place, choice);
            }
        }
        std::mem::swap(&mut self.hypotheses, &mut scratch.next);
    }

    /// Takes the best choices that do not stop as the running beams of the next step.
    fn update_running(&mut self) {
        let scratch = &mut self.scratch;
        scratch.scores.clear();
        scratch.scores.extend(
            scratch
                .choices
                .iter()
                .map(|choice| if choice.stops { choice.score + IMPOSSIBLE } else { choice.score }),
        );
        let beams = self.settings.num_beams;
        best_of(&mut scratch.scores, beams, &mut scratch.order);
        self.parents.clear();
        for (next, chosen) in scratch.next.iter_mut().zip(&scratch.order) {
            let choice = &scratch.choices[*chosen];
            next.extend(&self.running[choice.beam], choice, self.with_token_scores);
            next.score = scratch.scores[*chosen];
            self.parents.push(choice.beam as u32);
        }
        std::mem::swap(&mut self.running, &mut scratch.next);
    }

    /// By what the log-probability of a sequence of this many generated tokens is divided.
    fn length_divisor(&self, generated: usize) -> f32 {
        (generated as f64).powf(self.settings.length_penalty) as f32
    }

    /// Whether the best running beam may still beat a hypothesis, as far as the heuristic of
    /// `early_stopping` sees.
    fn improvement_possible(&self) -> bool {
        let hopeful = self.settings.early_stopping == EarlyStopping::Never
            && self.settings.length_penalty > 0.0;
        let length = if hopeful { self.max_new_tokens } else { self.generated() };
        let best = self.running[0].score / self.length_divisor(length);
        let worst = self.hypotheses.iter().map(|beam| beam.score).fold(f32::INFINITY, f32::min);
        self.hypotheses.iter().any(|beam| best > if beam.finished { worst } else { IMPOSSIBLE })
    }
}

/// Keeps the bound of [`draw_row`] on the safe side of rounding.
const BOUND_ROUNDING: f64 = 1.001;

/// Offers a row's candidates by chance and not by score: whoever keeps the greatest sums of a
/// log-weight and a Gumbel number has drawn by weight, without replacement, in the order in which
/// they would have been drawn.
fn draw_row(top: &mut TopK, row: &Row<'_>, random: Key) {
    let score = |logit: f32| row.normalizer.apply(logit) + row.running;
    for (number, (block, max)) in row.scores.chunks(BLOCK).zip(row.maxima).enumerate() {
        // Filters leave few tokens: most blocks have none that any luck could lift above the
        // threshold.
        let hopeless = |threshold: f32| score(*max) - threshold < -Key::GUMBEL_MOST;
        if top.threshold().is_some_and(hopeless) {
            continue;
        }
        for (offset, logit) in block.iter().enumerate() {
            let index = row.base + number * BLOCK + offset;
            draw(top, score(*logit), index, random);
        }
    }
}

/// Offers one candidate by chance.
fn draw(top: &mut TopK, score: f32, index: usize, random: Key) {
    // What has no chance only fills the list.
    if score == f32::NEG_INFINITY {
        top.offer(Candidate { score, index });
        return;
    }
    let random = random.at(index as u64);
    // Most tokens would not be kept with any luck, most others not with theirs, which a bound shows
    // without logarithms: chance > threshold needs uniform > exp(-exp(score - threshold)) > 1 -
    // exp(score - threshold).
    if let Some(threshold) = top.threshold() {
        let behind = (score - threshold).min(0.0);
        if behind < -Key::GUMBEL_MOST
            || 1.0 - random.uniform() > f64::from(exp(behind)) * BOUND_ROUNDING
        {
            return;
        }
    }
    let chance = (f64::from(score) + random.gumbel()) as f32;
    top.offer(Candidate { score: chance, index });
}

/// The indices of the `keep` greatest scores, in the order of `torch.topk`.
fn best_of(scores: &mut [f32], keep: usize, order: &mut Vec<usize>) {
    // A score that is no number (nothing over nothing, for an extreme length_penalty) is the worst.
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
        workspace: &mut Workspace,
        _: &mut dyn FnMut(usize, u32),
    ) -> Result<Option<StopReason>, Fault> {
        self.rank(logits, workspace)?;
        let cut = self.choose(logits, workspace.vocab_size);
        self.update_hypotheses();
        self.update_running();

        let enough = self.settings.early_stopping == EarlyStopping::True
            && self.hypotheses.iter().all(|hypothesis| hypothesis.finished);
        let all_stop = self.scratch.choices.iter().all(|choice| choice.stops);
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
    fn a_score_that_is_no_number_is_the_worst() {
        let mut order = Vec::new();
        best_of(&mut [1.0, f32::NAN, 2.0], 3, &mut order);
        assert_eq!(order, [2, 0, 1]);
    }

    #[test]
    fn candidates_are_drawn_by_weight_without_replacement() {
        // Two of three: the order (a, b) has the probability a * b / (1 - a).
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
