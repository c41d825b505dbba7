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
mod processor;
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
use processor::LogitsProcessor;
pub(crate) use processor::{Context, Effect};

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

#[cfg(test)]
mod goldens;
#[cfg(test)]
mod properties;
