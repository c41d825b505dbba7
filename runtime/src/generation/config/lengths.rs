//! Bounds on the length of a sequence, including the prompt.
//!
//! Implements `GenerationMixin._prepare_generated_length` and `_validate_generated_length`
//! (transformers 5.24.0).

use super::super::error::ParameterError;
use super::super::parameters::GenerationParameters;
use super::tokens::SpecialTokens;

/// Maximum number of new tokens if neither model nor caller gives a maximum length, as in
/// transformers.
const DEFAULT_NEW_TOKENS: usize = 20;

/// Bounds on the length of a sequence, including the prompt.
#[derive(Debug, Clone)]
pub(crate) struct Lengths {
    /// The decoder start, followed by the caller's `decoder_input_ids`.
    pub(crate) prompt: Vec<u32>,
    pub(crate) max_length: usize,
    pub(crate) min_length: usize,
    /// Number of tokens that the decoder can read; `None` if unlimited.
    pub(crate) positions: Option<usize>,
    /// Name and value of the parameter that decided `max_length`, for messages.
    decided_by: (&'static str, i64),
}

impl Lengths {
    /// `merged` is `params` merged with the model's defaults.
    pub(super) fn resolve(
        merged: &GenerationParameters,
        params: &GenerationParameters,
        tokens: &SpecialTokens,
        positions: Option<usize>,
    ) -> Result<Self, ParameterError> {
        let prompt = prompt(merged, tokens)?;
        let (max_length, decided_by) = match (merged.max_new_tokens, merged.max_length) {
            (Some(new), _) => {
                let value = i64::try_from(new).unwrap_or(i64::MAX);
                (new.saturating_add(prompt.len()), ("max_new_tokens", value))
            }
            (None, Some(length)) => (usize::try_from(length).unwrap_or(0), ("max_length", length)),
            (None, None) => {
                let length = DEFAULT_NEW_TOKENS + prompt.len();
                let length = positions.map_or(length, |positions| positions.min(length));
                (length, ("max_length", length as i64))
            }
        };
        let (name, value) = decided_by;
        if prompt.len() >= max_length {
            return Err(ParameterError::Contradiction {
                name,
                value: value.to_string(),
                reason: format!(
                    "the decoder already starts with {} tokens; it must be above that",
                    prompt.len()
                ),
            });
        }
        let min_length = match merged.min_new_tokens {
            Some(new) => new.saturating_add_unsigned(prompt.len() as u64),
            None => merged.min_length.unwrap_or(0),
        };
        let min_length = usize::try_from(min_length).unwrap_or(0);
        // transformers warns. Here it is an error if the caller gives the minimum; a minimum of the
        // model's defaults yields to max_length.
        let given = [("min_new_tokens", params.min_new_tokens), ("min_length", params.min_length)];
        let mut given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
        if let Some((name, value)) = given.next()
            && min_length > max_length
        {
            return Err(ParameterError::Contradiction {
                name,
                value: value.to_string(),
                reason: format!("the longest sequence allowed has {max_length} tokens"),
            });
        }
        Ok(Self { prompt, max_length, min_length, positions, decided_by })
    }

    /// Maximum number of tokens that the decoder reads.
    pub(crate) fn longest_history(&self) -> usize {
        let longest = self.max_length;
        self.positions.map_or(longest, |positions| positions.min(longest))
    }

    /// The error of a sequence that reaches the end of the decoder's positions.
    pub(crate) fn beyond_positions(&self, positions: usize) -> ParameterError {
        let (name, value) = self.decided_by;
        let max = match name {
            "max_new_tokens" => (positions + 1).saturating_sub(self.prompt.len()),
            _ => positions + 1,
        };
        ParameterError::Contradiction {
            name,
            value: value.to_string(),
            reason: format!(
                "a sequence reached the end of the model's {positions} positions; at most {max} \
                 tokens fit"
            ),
        }
    }
}

/// The decoder start, followed by the caller's `decoder_input_ids`.
fn prompt(
    merged: &GenerationParameters,
    tokens: &SpecialTokens,
) -> Result<Vec<u32>, ParameterError> {
    let start = match (merged.decoder_start_token_id, merged.bos_token_id) {
        (Some(start), _) => {
            tokens.check("decoder_start_token_id", &[start])?;
            start
        }
        (None, Some(bos)) => {
            let start = u32::try_from(bos).unwrap_or(u32::MAX);
            tokens.check("bos_token_id", &[start])?;
            start
        }
        (None, None) => {
            return Err(ParameterError::Missing { name: "decoder_start_token_id" });
        }
    };
    let mut prompt = merged.decoder_input_ids.clone().unwrap_or_default();
    tokens.check("decoder_input_ids", &prompt)?;
    if prompt.first() != Some(&start) {
        prompt.insert(0, start);
    }
    Ok(prompt)
}
