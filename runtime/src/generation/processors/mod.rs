//! Logits processors: each changes the scores of one row before its next token is chosen.
//!
//! One type per processor, each implementing the class of the same name in transformers' `logits_process.py`;
//! [`LogitsProcessors::new`] puts them in the order of `GenerationMixin._get_logits_processor` (5.23.0).

mod bad_words;
mod distribution;
mod encoder_no_repeat_ngram;
mod encoder_repetition_penalty;
mod epsilon;
mod eta;
mod exponential_decay;
mod forced_bos;
mod forced_eos;
mod hamming_diversity;
mod logit_normalization;
mod min_length;
mod min_new_tokens;
mod min_p;
mod no_repeat_ngram;
mod remove_invalid_values;
mod repetition_penalty;
mod sequence_bias;
mod suppress_tokens;
mod suppress_tokens_at_begin;
mod temperature;
mod top_h;
mod top_k;
mod top_p;
mod typical;

use super::config::{GenerationConfig, Sampling, Strategy};

/// What is known of the row whose next token is to be chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The decoder's history, start and prefix included.
    pub(crate) tokens: &'a [u32],
    /// The encoder's input ids, unpadded.
    pub(crate) source: &'a [u32],
    /// Tokens that other beams of the document, from which this one is to differ, chose at this step.
    pub(crate) peers: &'a [u32],
}

impl<'a> Context<'a> {
    pub(crate) fn new(tokens: &'a [u32], source: &'a [u32]) -> Self {
        Self {
            tokens,
            source,
            peers: &[],
        }
    }

    /// The same, where others have chosen already.
    #[must_use]
    pub(crate) fn beside(self, peers: &'a [u32]) -> Self {
        Self { peers, ..self }
    }
}

/// What a processor would do to a row, so that a search can leave logits as they are where nobody reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// Nothing at this step.
    Nothing,
    /// Sets scores to minus infinity, and reads none: logits serve as well as log-probabilities.
    Forbids,
    /// Reads scores, or sets others: needs the real ones.
    Rewrites,
}

/// Changes the scores of one row.
pub(crate) trait LogitsProcessor {
    /// What [`Self::process`] would do to this row now.
    fn effect(&self, context: &Context<'_>) -> Effect;

    /// Changes `scores` (one for each token of the vocabulary) in place: logits for greedy search and sampling,
    /// log-probabilities for beam search. Takes itself mutably only for the sake of scratch space.
    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]);
}

/// All processors of a search, in transformers' order.
#[derive(Default)]
pub(crate) struct LogitsProcessors {
    list: Vec<Box<dyn LogitsProcessor>>,
}

impl LogitsProcessors {
    /// The processors that `config` asks for.
    pub(crate) fn new(config: &GenerationConfig) -> Self {
        let settings = &config.processors;
        let lengths = &config.lengths;
        let eos = &config.tokens.eos;
        let mut registry = Registry::default();

        if !settings.sequence_bias.is_empty() {
            registry.add(sequence_bias::SequenceBiasLogitsProcessor::new(
                &settings.sequence_bias,
            ));
        }
        registry.maybe(
            settings.diversity_penalty,
            hamming_diversity::HammingDiversityLogitsProcessor::new,
        );
        registry.maybe(
            settings.encoder_repetition_penalty,
            encoder_repetition_penalty::EncoderRepetitionPenaltyLogitsProcessor::new,
        );
        registry.maybe(
            settings.repetition_penalty,
            repetition_penalty::RepetitionPenaltyLogitsProcessor::new,
        );
        if settings.no_repeat_ngram_size > 0 {
            let size = settings.no_repeat_ngram_size;
            registry.add(no_repeat_ngram::NoRepeatNGramLogitsProcessor::new(size));
        }
        if settings.encoder_no_repeat_ngram_size > 0 {
            let size = settings.encoder_no_repeat_ngram_size;
            registry.add(encoder_no_repeat_ngram::EncoderNoRepeatNGramLogitsProcessor::new(size));
        }
        if !settings.bad_words_ids.is_empty() {
            registry.add(bad_words::NoBadWordsLogitsProcessor::new(
                &settings.bad_words_ids,
            ));
        }
        if lengths.min_length > 0 && !eos.is_empty() {
            registry.add(min_length::MinLengthLogitsProcessor::new(
                lengths.min_length,
                eos,
            ));
        }
        if lengths.min_new_tokens > 0 && !eos.is_empty() {
            registry.add(min_new_tokens::MinNewTokensLengthLogitsProcessor::new(
                lengths.prompt.len(),
                lengths.min_new_tokens,
                eos,
            ));
        }
        registry.maybe(
            settings.forced_bos_token_id,
            forced_bos::ForcedBosTokenLogitsProcessor::new,
        );
        if !settings.forced_eos_token_id.is_empty() {
            registry.add(forced_eos::ForcedEosTokenLogitsProcessor::new(
                lengths.max_length,
                &settings.forced_eos_token_id,
            ));
        }
        if settings.remove_invalid_values {
            registry.add(remove_invalid_values::InfNanRemoveLogitsProcessor);
        }
        registry.maybe(settings.exponential_decay, |decay| {
            exponential_decay::ExponentialDecayLengthPenalty::new(decay, eos, lengths.prompt.len())
        });
        if !settings.suppress_tokens.is_empty() {
            registry.add(suppress_tokens::SuppressTokensLogitsProcessor::new(
                &settings.suppress_tokens,
            ));
        }
        if !settings.begin_suppress_tokens.is_empty() {
            // A forced first token comes before the one at which the output begins.
            let forced = lengths.prompt.len() == 1 && settings.forced_bos_token_id.is_some();
            registry.add(
                suppress_tokens_at_begin::SuppressTokensAtBeginLogitsProcessor::new(
                    &settings.begin_suppress_tokens,
                    lengths.prompt.len() + usize::from(forced),
                ),
            );
        }
        match &config.strategy {
            Strategy::Sample(sampling)
            | Strategy::Beam {
                sampling: Some(sampling),
                ..
            } => {
                registry.add_warpers(sampling);
            }
            Strategy::Greedy
            | Strategy::Beam { sampling: None, .. }
            | Strategy::GroupBeam { .. }
            | Strategy::ConstrainedBeam { .. } => {}
        }
        if settings.renormalize_logits {
            registry.add(logit_normalization::LogitNormalization::default());
        }
        Self {
            list: registry.list,
        }
    }

    /// The most that any processor would do to this row now.
    pub(crate) fn effect(&self, context: &Context<'_>) -> Effect {
        self.list
            .iter()
            .map(|processor| processor.effect(context))
            .max()
            .unwrap_or(Effect::Nothing)
    }

    /// Lets every processor change `scores`, in order.
    pub(crate) fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        for processor in &mut self.list {
            if processor.effect(context) != Effect::Nothing {
                processor.process(context, scores);
            }
        }
    }
}

/// Collects processors in the order in which they are added.
#[derive(Default)]
struct Registry {
    list: Vec<Box<dyn LogitsProcessor>>,
}

impl Registry {
    fn add(&mut self, processor: impl LogitsProcessor + 'static) {
        self.list.push(Box::new(processor));
    }

    fn maybe<T, P: LogitsProcessor + 'static>(
        &mut self,
        setting: Option<T>,
        make: impl FnOnce(T) -> P,
    ) {
        if let Some(setting) = setting {
            self.add(make(setting));
        }
    }

    /// The processors that transformers calls warpers: only when sampling, after all others.
    fn add_warpers(&mut self, sampling: &Sampling) {
        let keep = sampling.min_tokens_to_keep;
        self.maybe(
            sampling.temperature,
            temperature::TemperatureLogitsWarper::new,
        );
        self.maybe(sampling.top_h, top_h::TopHLogitsWarper::new);
        self.maybe(sampling.top_k, |value| {
            top_k::TopKLogitsWarper::new(value, keep)
        });
        self.maybe(sampling.top_p, |value| {
            top_p::TopPLogitsWarper::new(value, keep)
        });
        self.maybe(sampling.min_p, |value| {
            min_p::MinPLogitsWarper::new(value, keep)
        });
        self.maybe(sampling.typical_p, |value| {
            typical::TypicalLogitsWarper::new(value, keep)
        });
        self.maybe(sampling.epsilon_cutoff, |value| {
            epsilon::EpsilonLogitsWarper::new(value, keep)
        });
        self.maybe(sampling.eta_cutoff, |value| {
            eta::EtaLogitsWarper::new(value, keep)
        });
    }
}

/// Forbids each of these tokens.
fn forbid(scores: &mut [f32], tokens: &[u32]) {
    for token in tokens {
        scores[*token as usize] = f32::NEG_INFINITY;
    }
}

/// Forbids all but these tokens, which become certain.
fn force(scores: &mut [f32], tokens: &[u32]) {
    scores.fill(f32::NEG_INFINITY);
    for token in tokens {
        scores[*token as usize] = 0.0;
    }
}

#[cfg(test)]
mod goldens;
#[cfg(test)]
mod properties;

#[cfg(test)]
pub(crate) mod testing {
    //! Properties that hold of processors in general.

    use super::{Context, LogitsProcessor};

    /// Scores without ties for a small vocabulary.
    pub(crate) fn scores(vocab: usize) -> Vec<f32> {
        (0..vocab)
            .map(|token| ((token * 37) % 101) as f32 / 8.0 - 6.0)
            .collect()
    }

    /// What the processor makes of `before`.
    pub(crate) fn processed(
        processor: &mut dyn LogitsProcessor,
        context: &Context<'_>,
        before: &[f32],
    ) -> Vec<f32> {
        let mut after = before.to_vec();
        processor.process(context, &mut after);
        after
    }

    /// The tokens set to minus infinity; every other score must be untouched, and a second pass change nothing.
    pub(crate) fn forbidden(
        processor: &mut dyn LogitsProcessor,
        tokens: &[u32],
        source: &[u32],
    ) -> Vec<u32> {
        let context = Context::new(tokens, source);
        let before = scores(50);
        let after = processed(processor, &context, &before);
        assert_eq!(
            after,
            processed(processor, &context, &after),
            "not idempotent"
        );
        let mut forbidden = Vec::new();
        for (token, (before, after)) in before.iter().zip(&after).enumerate() {
            if *after == f32::NEG_INFINITY {
                forbidden.push(token as u32);
            } else {
                assert_eq!(
                    before.to_bits(),
                    after.to_bits(),
                    "token {token} was changed"
                );
            }
        }
        forbidden
    }
}
