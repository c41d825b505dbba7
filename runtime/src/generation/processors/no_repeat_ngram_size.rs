//! `no_repeat_ngram_size`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, above_zero, made};

/// Creates the processor if `no_repeat_ngram_size` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let size = above_zero(settings.parameters.no_repeat_ngram_size);
    made(size.map(NoRepeatNGramLogitsProcessor::new))
}

/// Forbids every token that would repeat a sequence of `size` tokens of the history, including the
/// decoder start.
pub(super) struct NoRepeatNGramLogitsProcessor {
    size: usize,
}

impl NoRepeatNGramLogitsProcessor {
    pub(super) fn new(size: usize) -> Self {
        Self { size }
    }
}

impl LogitsProcessor for NoRepeatNGramLogitsProcessor {
    fn effect(&self, context: &Context<'_>) -> Effect {
        if context.tokens.len() < self.size { Effect::Nothing } else { Effect::Forbids }
    }

    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        forbid_continuations(context.tokens, context.tokens, self.size, scores);
    }
}

/// Forbids each token that follows, anywhere in `text`, the last `size - 1` tokens of `history`.
pub(super) fn forbid_continuations(text: &[u32], history: &[u32], size: usize, scores: &mut [f32]) {
    let Some(start) = (history.len() + 1).checked_sub(size) else {
        return;
    };
    let newest = &history[start..];
    for window in text.windows(size) {
        let (context, token) = window.split_at(size - 1);
        if context == newest
            && let Some(score) = scores.get_mut(token[0] as usize)
        {
            *score = f32::NEG_INFINITY;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::processor::testing::forbidden;
    use super::*;

    #[test]
    fn what_followed_before_may_not_follow_again() {
        let mut processor = NoRepeatNGramLogitsProcessor::new(2);
        assert_eq!(forbidden(&mut processor, &[0, 5, 6, 5, 7, 5], &[]), [6, 7]);
        assert_eq!(forbidden(&mut processor, &[0], &[]), [0; 0]);
        let mut single = NoRepeatNGramLogitsProcessor::new(1);
        assert_eq!(forbidden(&mut single, &[0, 5], &[]), [0, 5]);
        let mut huge = NoRepeatNGramLogitsProcessor::new(usize::MAX);
        assert_eq!(forbidden(&mut huge, &[0, 5], &[]), [0; 0]);
    }

    proptest! {
        #[test]
        fn a_history_that_obeys_never_repeats(
            choices in prop::collection::vec(0_u32..6, 1..60), size in 1_usize..5,
        ) {
            let mut processor = NoRepeatNGramLogitsProcessor::new(size);
            let mut history = vec![0_u32];
            for choice in choices {
                if forbidden(&mut processor, &history, &[]).contains(&choice) {
                    continue;
                }
                history.push(choice);
            }
            let mut seen = std::collections::HashSet::new();
            prop_assert!(history.windows(size).all(|ngram| seen.insert(ngram.to_vec())));
        }
    }
}
