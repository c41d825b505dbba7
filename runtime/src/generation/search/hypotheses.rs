//! The finished hypotheses of diverse and constrained beam search.
//!
//! Implements `BeamHypotheses` and the common part of the scorers in `beam_search.py` (transformers
//! 4.46.3; version 5 dropped these searches). Ordinary beam search follows version 5, which keeps
//! its hypotheses differently.

use super::super::config::{Beams, GenerationConfig};
use super::super::outcome::Hypothesis;
use super::super::parameters::EarlyStopping;
use super::running::{Ranked, Running};

/// A sequence that ended, without its end token.
#[derive(Debug, Clone)]
struct Ended {
    tokens: Vec<u32>,
    token_scores: Vec<f32>,
    /// Log-probability over length to the power of `length_penalty`.
    score: f64,
}

/// The best hypotheses of a group of beams.
#[derive(Debug)]
pub(super) struct BeamHypotheses {
    list: Vec<Ended>,
    size: usize,
    worst: f64,
    settings: Beams,
    prompt_length: usize,
    max_new_tokens: usize,
}

impl BeamHypotheses {
    /// Keeps up to `size` hypotheses.
    pub(super) fn new(config: &GenerationConfig, settings: Beams, size: usize) -> Self {
        let prompt_length = config.lengths.prompt.len();
        Self {
            list: Vec::new(),
            size,
            worst: 1.0e9,
            settings,
            prompt_length,
            max_new_tokens: config.lengths.max_length - prompt_length,
        }
    }

    /// Score of a log-probability at this length.
    fn score(&self, sum: f32, generated: usize) -> f64 {
        let score = f64::from(sum) / (generated as f64).powf(self.settings.length_penalty);
        // NaN (0 divided by 0, for an extreme length_penalty) is the worst score.
        if score.is_nan() { f64::NEG_INFINITY } else { score }
    }

    /// Adds a beam that an end token finished. The token counts for the length;
    /// [`Finalizer::select`] appends it.
    pub(super) fn finish(&mut self, beam: &Running, end: &Ranked) {
        let generated = beam.tokens.len() + 1 - self.prompt_length;
        let mut token_scores = beam.token_scores.clone();
        token_scores.push(end.token_score);
        self.add(Ended {
            tokens: beam.tokens.clone(),
            token_scores,
            score: self.score(end.score, generated),
        });
    }

    /// Adds a beam that was still running when the search ended.
    pub(super) fn leave_open(&mut self, beam: &Running) {
        let generated = beam.tokens.len() - self.prompt_length;
        self.add(Ended {
            tokens: beam.tokens.clone(),
            token_scores: beam.token_scores.clone(),
            score: self.score(beam.score, generated),
        });
    }

    fn add(&mut self, ended: Ended) {
        if self.list.len() >= self.size && ended.score <= self.worst {
            return;
        }
        self.worst = self.worst.min(ended.score);
        self.list.push(ended);
        if self.list.len() > self.size {
            let scores = || self.list.iter().map(|one| one.score).enumerate();
            let worst = scores().min_by(|left, right| left.1.total_cmp(&right.1));
            if let Some((index, _)) = worst {
                self.list.remove(index);
            }
            let scores = self.list.iter().map(|one| one.score);
            self.worst = scores.fold(f64::INFINITY, f64::min);
        }
    }

    /// Whether no running beam can become better than these hypotheses. `best` is the greatest
    /// log-probability of a sequence with `length` tokens, including the prompt.
    pub(super) fn are_final(&self, best: f32, length: usize) -> bool {
        if self.list.len() < self.size {
            return false;
        }
        let generated = match self.settings.early_stopping {
            EarlyStopping::True => return true,
            EarlyStopping::Never if self.settings.length_penalty > 0.0 => self.max_new_tokens,
            EarlyStopping::False | EarlyStopping::Never => length - self.prompt_length,
        };
        self.worst >= self.score(best, generated)
    }
}

/// Turns hypotheses into the result of a search.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finalizer {
    num_return_sequences: usize,
    max_length: usize,
    /// The first end token. It is appended to every hypothesis that is short enough, whichever end
    /// token ended it.
    end: Option<u32>,
    with_token_scores: bool,
}

impl Finalizer {
    pub(super) fn new(config: &GenerationConfig) -> Self {
        Self {
            num_return_sequences: config.num_return_sequences,
            max_length: config.lengths.max_length,
            end: config.tokens.eos.first().copied(),
            with_token_scores: config.output_scores,
        }
    }

    pub(super) fn num_return_sequences(&self) -> usize {
        self.num_return_sequences
    }

    /// The best hypotheses of all groups, best first; of equal ones the later one.
    ///
    /// The end token is appended to each hypothesis that is shorter than `max_length`. That is also
    /// true of those that time or a stop string cut: their end token was neither generated nor
    /// scored.
    pub(super) fn select<'a>(
        &self,
        groups: impl Iterator<Item = &'a mut BeamHypotheses>,
    ) -> Vec<Hypothesis> {
        let mut all: Vec<Ended> = groups.flat_map(|group| group.list.drain(..)).collect();
        all.sort_by(|left, right| left.score.total_cmp(&right.score));
        let best = all.into_iter().rev().take(self.num_return_sequences);
        best.map(|mut one| {
            if one.tokens.len() < self.max_length {
                one.tokens.extend(self.end);
            }
            Hypothesis {
                token_ids: one.tokens,
                score: Some(one.score as f32),
                token_scores: self.with_token_scores.then_some(one.token_scores),
            }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hypotheses(early_stopping: EarlyStopping) -> BeamHypotheses {
        BeamHypotheses {
            list: Vec::new(),
            size: 2,
            worst: 1.0e9,
            settings: Beams { num_beams: 2, length_penalty: 1.0, early_stopping },
            prompt_length: 1,
            max_new_tokens: 10,
        }
    }

    fn open(score: f32) -> Running {
        Running { tokens: vec![0, 5, 6], token_scores: Vec::new(), score }
    }

    #[test]
    fn a_better_hypothesis_replaces_the_worst_and_an_equal_one_does_not() {
        let mut kept = hypotheses(EarlyStopping::False);
        for score in [-4.0, -2.0, -3.0, -3.0, f32::NAN, -9.0] {
            kept.leave_open(&open(score));
        }
        let scores: Vec<f64> = kept.list.iter().map(|one| one.score).collect();
        assert_eq!(scores, [-1.0, -1.5]);
        assert_eq!(kept.worst, -1.5);
    }

    #[test]
    fn early_stopping_decides_when_hypotheses_are_final() {
        for (early_stopping, ends) in [
            (EarlyStopping::True, true),
            (EarlyStopping::False, true),
            (EarlyStopping::Never, false),
        ] {
            let mut kept = hypotheses(early_stopping);
            kept.leave_open(&open(-2.0));
            assert!(!kept.are_final(-3.0, 3), "one of two hypotheses");
            kept.leave_open(&open(-2.0));
            assert_eq!(kept.are_final(-3.0, 3), ends, "{early_stopping:?}");
        }
    }
}
