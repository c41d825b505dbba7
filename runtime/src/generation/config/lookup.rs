//! Settings of prompt lookup.

use super::super::error::ParameterError;
use super::super::parameters::GenerationParameters;
use super::strategy::Strategy;

/// transformers' default of `max_matching_ngram_size`.
const DEFAULT_NGRAM_SIZE: usize = 2;

/// Settings of prompt lookup.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lookup {
    /// Maximum number of tokens in a draft.
    pub(crate) tokens: usize,
    /// Maximum number of newest tokens that are looked up.
    pub(crate) ngram_size: usize,
}

impl Lookup {
    /// Drafts need a single sequence that grows token by token. Otherwise a caller's parameter is
    /// an error, and a model's default has no effect, as in transformers.
    pub(super) fn resolve(
        merged: &GenerationParameters,
        params: &GenerationParameters,
        strategy: &Strategy,
        sequences: usize,
    ) -> Result<Option<Self>, ParameterError> {
        let Some(tokens) = merged.prompt_lookup_num_tokens else {
            return Ok(None);
        };
        let single = matches!(strategy, Strategy::Greedy | Strategy::Sample(_)) && sequences == 1;
        if single {
            let ngram_size = merged.max_matching_ngram_size;
            return Ok(Some(Self { tokens, ngram_size: ngram_size.unwrap_or(DEFAULT_NGRAM_SIZE) }));
        }
        match params.prompt_lookup_num_tokens {
            None => Ok(None),
            Some(tokens) => Err(ParameterError::Contradiction {
                name: "prompt_lookup_num_tokens",
                value: tokens.to_string(),
                reason: "drafts are for greedy search and sampling of one sequence; \
                         set num_beams and num_return_sequences to 1"
                    .into(),
            }),
        }
    }
}
