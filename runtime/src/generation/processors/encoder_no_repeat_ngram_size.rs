//! `encoder_no_repeat_ngram_size`.

use super::no_repeat_ngram_size::forbid_continuations;
use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, above_zero, made};

/// Creates the processor if `encoder_no_repeat_ngram_size` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let size = above_zero(settings.parameters.encoder_no_repeat_ngram_size);
    made(size.map(EncoderNoRepeatNGramLogitsProcessor::new))
}

/// Forbids every token that would copy a sequence of `size` tokens from the source.
pub(super) struct EncoderNoRepeatNGramLogitsProcessor {
    size: usize,
}

impl EncoderNoRepeatNGramLogitsProcessor {
    pub(super) fn new(size: usize) -> Self {
        Self { size }
    }
}

impl LogitsProcessor for EncoderNoRepeatNGramLogitsProcessor {
    fn effect(&self, context: &Context<'_>) -> Effect {
        // The history needs one token less than the sequence, as the source supplies the last one.
        if context.tokens.len() + 1 < self.size { Effect::Nothing } else { Effect::Forbids }
    }

    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        forbid_continuations(context.source, context.tokens, self.size, scores);
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::forbidden;
    use super::*;

    #[test]
    fn the_sources_sequences_may_not_be_copied() {
        let source = [0, 9, 4, 9, 5, 1];
        let mut processor = EncoderNoRepeatNGramLogitsProcessor::new(2);
        assert_eq!(forbidden(&mut processor, &[0, 9], &source), [4, 5]);
        assert_eq!(forbidden(&mut processor, &[0], &source), [9]);
        assert_eq!(forbidden(&mut processor, &[0, 8], &source), [0; 0]);
        let mut long = EncoderNoRepeatNGramLogitsProcessor::new(9);
        assert_eq!(forbidden(&mut long, &[0, 9], &source), [0; 0]);
    }
}
