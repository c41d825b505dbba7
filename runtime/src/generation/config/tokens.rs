//! Special tokens.
//!
//! Implements `GenerationMixin._prepare_special_tokens` (transformers 5.24.0).

use super::super::error::{ParameterError, shown};
use super::super::parameters::GenerationParameters;

/// Special tokens, and the size of their vocabulary.
#[derive(Debug, Clone)]
pub(crate) struct SpecialTokens {
    /// End tokens: each ends a sequence. Empty if the model has none.
    pub(crate) eos: Vec<u32>,
    /// Number of end tokens in the parameters, including those outside the vocabulary.
    pub(crate) end_count: usize,
    /// Token that is fed to finished rows while other rows of the document are not finished.
    pub(crate) pad: u32,
    pub(crate) vocab_size: usize,
}

impl SpecialTokens {
    pub(super) fn resolve(merged: &GenerationParameters, vocab_size: usize) -> Self {
        let given = merged.eos_token_id.as_deref().unwrap_or_default();
        let mut tokens = Self { eos: Vec::new(), end_count: given.len(), pad: 0, vocab_size };
        tokens.eos = tokens.known(Some(given));
        // transformers feeds any padding token and ignores the resulting scores.
        let pad = merged.pad_token_id.or(given.first().copied());
        tokens.pad = tokens.known(pad.as_slice().into()).first().copied().unwrap_or(0);
        tokens
    }

    /// The ids that are in the vocabulary. The others match no token.
    pub(crate) fn known(&self, ids: Option<&[i64]>) -> Vec<u32> {
        let ids = ids.unwrap_or_default().iter();
        let ids = ids.filter_map(|id| u32::try_from(*id).ok());
        ids.filter(|id| (*id as usize) < self.vocab_size).collect()
    }

    /// Checks ids that must be in the vocabulary, because their scores or embeddings are used.
    ///
    /// # Errors
    /// [`ParameterError::Invalid`] for the first id that is not.
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

    /// Number of candidates that beam search ranks for each beam: enough to continue all beams even
    /// if each end token of each beam is among the candidates.
    pub(crate) fn candidates_per_beam(&self) -> usize {
        (1 + self.end_count).max(2)
    }
}
