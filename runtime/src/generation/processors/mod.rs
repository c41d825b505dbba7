//! Logits processors: each changes the scores of a row before its next token is chosen.
//!
//! A processor has one line in the [table](table) and one file, both named after its parameter. The
//! file implements a class of transformers' `logits_process.py`. Its function `make` creates the
//! processor if the parameters need it.

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
        /// The searches that use each processor and the function that creates it, in the order of
        /// the table.
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
    /// Creates the processors that `settings` need.
    ///
    /// # Errors
    /// [`ParameterError`] if the parameter of a processor is not valid.
    pub(super) fn new(settings: &Settings<'_>) -> Result<Self, ParameterError> {
        let mode = settings.parameters.mode();
        let used = PROCESSORS.iter().filter(|(scope, _)| mode.uses(*scope));
        let made = used.filter_map(|(_, make)| make(settings).transpose());
        Ok(Self { list: made.collect::<Result<_, _>>()? })
    }

    /// The strongest effect of any processor on this row.
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
