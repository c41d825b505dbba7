//! `bad_words_ids`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, forbid, made};
use crate::generation::error::ParameterError;

/// Creates the processor if `bad_words_ids` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let Some(words) = &settings.parameters.bad_words_ids else {
        return Ok(None);
    };
    for word in words {
        settings.tokens.check("bad_words_ids", word)?;
    }
    // transformers ignores an end token alone, and fails if no other bad word is left.
    let is_end =
        |word: &Vec<u32>| matches!(word.as_slice(), [id] if settings.tokens.eos.contains(id));
    let words: Vec<_> = words.iter().filter(|word| !is_end(word)).cloned().collect();
    if words.is_empty() {
        return Err(ParameterError::Contradiction {
            name: "bad_words_ids",
            value: "only end tokens".to_owned(),
            reason:
                "an end token alone cannot be a bad word; use `min_new_tokens` to put off the end"
                    .to_owned(),
        });
    }
    made(Some(NoBadWordsLogitsProcessor::new(words)))
}

/// Forbids the last token of each bad word whose other tokens end the history.
pub(super) struct NoBadWordsLogitsProcessor {
    bad_words: Vec<Vec<u32>>,
}

impl NoBadWordsLogitsProcessor {
    fn new(bad_words: Vec<Vec<u32>>) -> Self {
        Self { bad_words }
    }
}

impl LogitsProcessor for NoBadWordsLogitsProcessor {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Forbids
    }

    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        for word in &self.bad_words {
            if let Some((last, before)) = word.split_last()
                && context.tokens.ends_with(before)
            {
                forbid(scores, &[*last]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::forbidden;
    use super::*;

    #[test]
    fn a_bad_word_is_never_completed() {
        let mut processor =
            NoBadWordsLogitsProcessor::new(vec![vec![9], vec![3, 4], vec![2, 3, 5]]);
        assert_eq!(forbidden(&mut processor, &[0, 2, 3], &[]), [4, 5, 9]);
        assert_eq!(forbidden(&mut processor, &[3], &[]), [4, 9]);
        assert_eq!(forbidden(&mut processor, &[0], &[]), [9]);
    }
}
