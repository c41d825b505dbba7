//! `suppress_tokens`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, forbid, made};

/// Creates the processor if `suppress_tokens` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let tokens = settings.tokens.known(settings.parameters.suppress_tokens.as_deref());
    made((!tokens.is_empty()).then(|| SuppressTokensLogitsProcessor::new(&tokens)))
}

/// Forbids these tokens at every step.
pub(super) struct SuppressTokensLogitsProcessor {
    tokens: Vec<u32>,
}

impl SuppressTokensLogitsProcessor {
    pub(super) fn new(tokens: &[u32]) -> Self {
        Self { tokens: tokens.to_vec() }
    }
}

impl LogitsProcessor for SuppressTokensLogitsProcessor {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Forbids
    }

    fn process(&mut self, _: &Context<'_>, scores: &mut [f32]) {
        forbid(scores, &self.tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::forbidden;
    use super::*;

    #[test]
    fn these_and_no_others_are_forbidden() {
        let mut processor = SuppressTokensLogitsProcessor::new(&[3, 9, 3]);
        assert_eq!(forbidden(&mut processor, &[0], &[]), [3, 9]);
    }
}
