//! `bad_words_ids`.

use super::processor::{Context, Effect, LogitsProcessor, forbid};

/// Forbids the last token of each bad word whose other tokens end the history.
pub(super) struct NoBadWordsLogitsProcessor {
    bad_words: Vec<Vec<u32>>,
}

impl NoBadWordsLogitsProcessor {
    pub(super) fn new(bad_words: &[Vec<u32>]) -> Self {
        Self {
            bad_words: bad_words.to_vec(),
        }
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
        let mut processor = NoBadWordsLogitsProcessor::new(&[vec![9], vec![3, 4], vec![2, 3, 5]]);
        assert_eq!(forbidden(&mut processor, &[0, 2, 3], &[]), [4, 5, 9]);
        assert_eq!(forbidden(&mut processor, &[3], &[]), [4, 9]);
        assert_eq!(forbidden(&mut processor, &[0], &[]), [9]);
    }
}
