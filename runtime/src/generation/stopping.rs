//! Criteria that end a sequence or a search: transformers' `stopping_criteria.py`.

use std::sync::Arc;
use std::time::Instant;

use super::config::GenerationConfig;
use super::model::{Source, StopStrings};
use super::outcome::StopReason;

/// The stopping criteria of one document.
#[derive(Clone)]
pub(crate) struct StoppingCriteria {
    max_length: usize,
    eos: Vec<u32>,
    stop_strings: Option<Arc<dyn StopStrings>>,
    deadline: Option<Instant>,
}

impl StoppingCriteria {
    /// Creates the criteria of a document. `max_time` starts now.
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

    /// Whether a sequence of this length has the maximum length.
    pub(crate) fn at_max_length(&self, length: usize) -> bool {
        length >= self.max_length
    }

    /// Whether the deadline passed. Call this once for a step, so that all candidates are treated
    /// equally.
    pub(crate) fn out_of_time(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() > deadline)
    }

    /// Whether this token ends a sequence.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        self.eos.contains(&token)
    }

    /// Why a search over these histories of one length ends; `None` while one of them can go on.
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

    /// Whether there are stop strings, which are searched in whole histories.
    pub(crate) fn has_stop_strings(&self) -> bool {
        self.stop_strings.is_some()
    }

    /// Whether a stop string ends this history.
    pub(crate) fn ends_in_stop_string(&self, history: &[u32]) -> bool {
        self.stop_strings.as_ref().is_some_and(|strings| strings.ends(history))
    }
}
