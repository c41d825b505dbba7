//! What ends a sequence or a search: transformers' `stopping_criteria.py`, without the texts.

use std::sync::Arc;
use std::time::Instant;

use super::config::GenerationConfig;
use super::model::{Source, StopStrings};
use super::outcome::StopReason;

/// The criteria of one document.
#[derive(Clone)]
pub(crate) struct StoppingCriteria {
    max_length: usize,
    eos: Vec<u32>,
    stop_strings: Option<Arc<dyn StopStrings>>,
    deadline: Option<Instant>,
}

impl StoppingCriteria {
    /// Time starts now.
    pub(crate) fn new(config: &GenerationConfig, source: &Source) -> Self {
        let max_time = config.stopping.max_time.and_then(|time| Instant::now().checked_add(time));
        let deadline = match (max_time, source.deadline) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            max_length: config.lengths.max_length,
            eos: config.tokens.eos.clone(),
            stop_strings: config.stopping.matcher.clone(),
            deadline,
        }
    }

    /// Whether a sequence of this length may not grow.
    pub(crate) fn at_max_length(&self, length: usize) -> bool {
        length >= self.max_length
    }

    /// Whether the time is over. Ask once for a step, so that all candidates get the same answer.
    pub(crate) fn out_of_time(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() > deadline)
    }

    /// Whether this token ends a sequence.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        self.eos.contains(&token)
    }

    /// What ends a search over these histories, all of one length, which goes on while any of them
    /// may.
    pub(crate) fn end_all<'h>(
        &self,
        histories: impl Iterator<Item = &'h [u32]>,
    ) -> Option<StopReason> {
        let out_of_time = self.out_of_time();
        for history in histories {
            if self.at_max_length(history.len()) {
                return Some(StopReason::MaxLength);
            }
            if out_of_time {
                return Some(StopReason::Deadline);
            }
            let ended = history.last().is_some_and(|token| self.is_end(*token));
            if !ended && !self.ends_in_stop_string(history) {
                return None;
            }
        }
        Some(StopReason::Finished)
    }

    /// Whether stop strings must be looked for, which needs whole histories.
    pub(crate) fn has_stop_strings(&self) -> bool {
        self.stop_strings.is_some()
    }

    /// Whether a stop string ends this history.
    pub(crate) fn ends_in_stop_string(&self, history: &[u32]) -> bool {
        self.stop_strings.as_ref().is_some_and(|strings| strings.ends(history))
    }
}
