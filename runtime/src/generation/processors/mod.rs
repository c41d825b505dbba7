//! Logits processors: each changes the scores of one row before its next token is chosen.
//!
//! A processor is one line of the [table](table) and one file, both named as its parameter. The
//! file implements a class of transformers' `logits_process.py`, and `make` says when it is needed.

mod bad_words_ids;
mod begin_suppress_tokens;
mod distribution;
mod diversity_penalty;
mod encoder_no_repeat_ngram_size;
mod encoder_repetition_penalty;
mod epsilon_cutoff;
mod eta_cutoff;
mod exponential_decay_length_penalty;
mod forced_bos_token_id;
mod forced_eos_token_id;
mod min_length;
mod min_new_tokens;
mod min_p;
mod no_repeat_ngram_size;
mod processor;
mod remove_invalid_values;
mod renormalize_logits;
mod repetition_penalty;
mod sequence_bias;
mod suppress_tokens;
pub(super) mod table;
mod temperature;
mod top_h;
mod top_k;
mod top_p;
mod typical_p;

use super::error::ParameterError;
use super::parameters::Scope;
pub(super) use processor::{Context, Effect, Settings};
use processor::{LogitsProcessor, Made};
use table::with_processors;

macro_rules! list {
    ($( $(#[$doc:meta])* $scope:ident $name:ident: $type:ty, $allowed:literal, $check:expr; )*) => {
        /// How each processor is made, and in which searches it takes part, in the table's order.
        static PROCESSORS: &[(Scope, fn(&Settings<'_>) -> Made)] =
            &[$( (Scope::$scope, $name::make), )*];
    };
}

with_processors! { list! {} }

/// All processors of a search, in transformers' order.
#[derive(Default)]
pub(super) struct LogitsProcessors {
    list: Vec<Box<dyn LogitsProcessor>>,
}

impl LogitsProcessors {
    /// The processors that `settings` ask for.
    ///
    /// # Errors
    /// [`ParameterError`] where a processor cannot follow its parameter.
    pub(super) fn new(settings: &Settings<'_>) -> Result<Self, ParameterError> {
        let mode = settings.parameters.mode();
        let used = PROCESSORS.iter().filter(|(scope, _)| mode.uses(*scope));
        let made = used.filter_map(|(_, make)| make(settings).transpose());
        Ok(Self { list: made.collect::<Result<_, _>>()? })
    }

    /// The most that any processor would do to this row now.
    pub(super) fn effect(&self, context: &Context<'_>) -> Effect {
        self.list.iter().map(|processor| processor.effect(context)).max().unwrap_or(Effect::Nothing)
    }

    /// Lets every processor change `scores`, in order.
    pub(super) fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        for processor in &mut self.list {
            if processor.effect(context) != Effect::Nothing {
                processor.process(context, scores);
            }
        }
    }
}

#[cfg(test)]
mod goldens;
#[cfg(test)]
mod properties;
