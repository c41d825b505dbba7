//! `min_length`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, forbid, made};

/// Creates the processor if `min_length` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let eos = &settings.tokens.eos;
    let min_length = settings.lengths.min_length;
    let needed = min_length > 0 && !eos.is_empty();
    made(needed.then(|| MinLengthLogitsProcessor::new(min_length, eos)))
}

/// Forbids the end tokens while the sequence, including the prompt, is shorter than `min_length`.
pub(super) struct MinLengthLogitsProcessor {
    min_length: usize,
    eos: Vec<u32>,
}

impl MinLengthLogitsProcessor {
    pub(super) fn new(min_length: usize, eos: &[u32]) -> Self {
        Self { min_length, eos: eos.to_vec() }
    }
}

impl LogitsProcessor for MinLengthLogitsProcessor {
    fn effect(&self, context: &Context<'_>) -> Effect {
        if context.tokens.len() < self.min_length { Effect::Forbids } else { Effect::Nothing }
    }

    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        if self.effect(context) == Effect::Forbids {
            forbid(scores, &self.eos);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::forbidden;
    use super::*;

    #[test]
    fn the_end_waits_for_the_length() {
        let mut processor = MinLengthLogitsProcessor::new(3, &[1, 7]);
        assert_eq!(forbidden(&mut processor, &[0, 5], &[]), [1, 7]);
        assert_eq!(forbidden(&mut processor, &[0, 5, 6], &[]), [0; 0]);
    }
}
