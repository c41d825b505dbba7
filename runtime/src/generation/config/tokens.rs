//! Tokens with a meaning.
//!
//! Implements `GenerationMixin._prepare_special_tokens` (transformers 5.24.0).

use super::super::error::{ParameterError, shown};
use super::super::parameters::GenerationParameters;

/// Tokens with a meaning, and the vocabulary that they belong to.
#[derive(Debug, Clone)]
pub(crate) struct SpecialTokens {
    /// Any of these ends a sequence; empty where the model has none.
    pub(crate) eos: Vec<u32>,
    /// End tokens as they were given, those that the vocabulary does not have included.
    pub(crate) end_count: usize,
    /// Fed to rows that are finished while others of their document are not.
    pub(crate) pad: u32,
    pub(crate) vocab_size: usize,
}

impl SpecialTokens {
    pub(super) fn resolve(merged: &GenerationParameters, vocab_size: usize) -> Self {
        let given = merged.eos_token_id.as_deref().unwrap_or_default();
        let mut tokens = Self { eos: Vec::new(), end_count: given.len(), pad: 0, vocab_size };
        tokens.eos = tokens.known(Some(given));
        // transformers feeds any pad token and ignores what comes out of it.
        let pad = merged.pad_token_id.or(given.first().copied());
        tokens.pad = tokens.known(pad.as_slice().into()).first().copied().unwrap_or(0);
        tokens
    }

    /// Those of the ids that the vocabulary has. The others name no token, and so match none.
    pub(crate) fn known(&self, ids: Option<&[i64]>) -> Vec<u32> {
        let ids = ids.unwrap_or_default().iter();
        let ids = ids.filter_map(|id| u32::try_from(*id).ok());
        ids.filter(|id| (*id as usize) < self.vocab_size).collect()
    }

    /// Checks ids of tokens that must be in the vocabulary, for their scores or embeddings are
    /// used.
    ///
    /// # Errors
    /// [`ParameterError::Invalid`] for the first that is not.
    pub(crate) fn check(&self, name: &'static str, ids: &[u32]) -> Result<(), ParameterError> {
        match ids.iter().find(|id| **id as usize >= self.vocab_size) {
            None => Ok(()),
            Some(id) => Err(ParameterError::Invalid {
                name,
                value: shown(id.to_string()),
                allowed: format!("below {}, the size of the model's vocabulary", self.vocab_size),
            }),
        }
    }

    /// Candidates that beam search ranks for each beam: even if every beam ends in every way,
    /// enough go on.
    pub(crate) fn candidates_per_beam(&self) -> usize {
        (1 + self.end_count).max(2)
    }
}
