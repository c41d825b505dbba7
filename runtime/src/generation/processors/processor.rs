//! The interface of logits processors, which change the scores of a row.

use super::super::config::lengths::Lengths;
use super::super::config::tokens::SpecialTokens;
use super::super::error::{ParameterError, shown};
use super::super::parameters::GenerationParameters;

/// The settings from which processors are created.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    /// The caller's parameters merged with the model's defaults.
    pub(crate) parameters: &'a GenerationParameters,
    pub(crate) tokens: &'a SpecialTokens,
    pub(crate) lengths: &'a Lengths,
}

impl Settings<'_> {
    /// Minimum number of tokens that each filter keeps: beams need one besides the end tokens.
    pub(super) fn min_tokens_to_keep(&self) -> usize {
        match self.parameters.num_beams {
            None | Some(1) => 1,
            _ => self.tokens.end_count.max(1) + 1,
        }
    }

    /// Checks tokens of which one is forced at some step.
    pub(super) fn check_forced(
        &self,
        name: &'static str,
        ids: &[u32],
    ) -> Result<(), ParameterError> {
        self.tokens.check(name, ids)?;
        let suppressed = self.parameters.suppress_tokens.as_deref().unwrap_or_default();
        let is_suppressed = |id: &u32| suppressed.contains(&i64::from(*id));
        if ids.is_empty() || !ids.iter().all(is_suppressed) {
            return Ok(());
        }
        Err(ParameterError::Contradiction {
            name,
            value: shown(format!("{ids:?}")),
            reason: "`suppress_tokens` forbids it, which would leave no token at all".to_owned(),
        })
    }
}

/// A number that is off if it is 0 or less.
pub(super) fn above_zero(number: Option<i64>) -> Option<usize> {
    number?.try_into().ok().filter(|number| *number > 0)
}

/// A new processor; `None` if its parameter is off.
pub(super) type Made = Result<Option<Box<dyn LogitsProcessor>>, ParameterError>;

/// Converts a processor to the result of `make`.
pub(super) fn made<P: LogitsProcessor + 'static>(processor: Option<P>) -> Made {
    Ok(processor.map(|processor| Box::new(processor) as Box<dyn LogitsProcessor>))
}

/// The context of a row whose next token is chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The decoder's history, including decoder start and prompt.
    pub(crate) tokens: &'a [u32],
    /// The encoder's input ids, without padding.
    pub(crate) source: &'a [u32],
    /// Tokens that other beam groups of the document chose at this step.
    pub(crate) peers: &'a [u32],
}

impl<'a> Context<'a> {
    pub(crate) fn new(tokens: &'a [u32], source: &'a [u32]) -> Self {
        Self { tokens, source, peers: &[] }
    }

    /// Adds the tokens that other beam groups chose at this step.
    #[must_use]
    pub(crate) fn beside(self, peers: &'a [u32]) -> Self {
        Self { peers, ..self }
    }
}

/// The effect of a processor on a row. It tells a search whether it must compute log-probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// Nothing at this step.
    Nothing,
    /// Sets scores to minus infinity and reads none, so logits serve as well as log-probabilities.
    Forbids,
    /// Reads scores or sets them to other values, so it needs the real scores.
    Rewrites,
}

/// Changes the scores of one row.
pub(crate) trait LogitsProcessor: Send {
    /// The effect of [`Self::process`] on this row.
    fn effect(&self, context: &Context<'_>) -> Effect;

    /// Changes `scores` in place: `[vocabulary]`, logits for greedy search and sampling,
    /// log-probabilities for beam search. `self` is mutable only for its buffers.
    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]);
}

/// Forbids each of these tokens.
pub(super) fn forbid(scores: &mut [f32], tokens: &[u32]) {
    for token in tokens {
        scores[*token as usize] = f32::NEG_INFINITY;
    }
}

/// Forbids all other tokens, and sets the scores of these tokens to 0.
pub(super) fn force(scores: &mut [f32], tokens: &[u32]) {
    scores.fill(f32::NEG_INFINITY);
    for token in tokens {
        scores[*token as usize] = 0.0;
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! Helpers for the tests of processors.

    use super::{Context, LogitsProcessor};

    /// Scores without ties for a small vocabulary.
    pub(crate) fn scores(vocab: usize) -> Vec<f32> {
        (0..vocab).map(|token| ((token * 37) % 101) as f32 / 8.0 - 6.0).collect()
    }

    /// The scores `before` after the processor.
    pub(crate) fn processed(
        processor: &mut dyn LogitsProcessor,
        context: &Context<'_>,
        before: &[f32],
    ) -> Vec<f32> {
        let mut after = before.to_vec();
        processor.process(context, &mut after);
        after
    }

    /// The tokens that the processor forbids. Checks that it changes no other score, and that a
    /// second pass changes nothing.
    pub(crate) fn forbidden(
        processor: &mut dyn LogitsProcessor,
        tokens: &[u32],
        source: &[u32],
    ) -> Vec<u32> {
        let context = Context::new(tokens, source);
        let before = scores(50);
        let after = processed(processor, &context, &before);
        assert_eq!(after, processed(processor, &context, &after), "not idempotent");
        let mut forbidden = Vec::new();
        for (token, (before, after)) in before.iter().zip(&after).enumerate() {
            if *after == f32::NEG_INFINITY {
                forbidden.push(token as u32);
            } else {
                assert_eq!(before.to_bits(), after.to_bits(), "token {token} was changed");
            }
        }
        forbidden
    }
}
