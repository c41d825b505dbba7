//! The configuration of a search: the caller's parameters merged with the model's defaults, as in
//! transformers.
//!
//! Implements `GenerationMixin._prepare_generation_config`, `GenerationConfig.get_generation_mode`
//! and the checks across parameters of `GenerationConfig.validate` (transformers 5.24.0).

mod beam_mode;
pub(super) mod lengths;
mod lookup;
mod strategy;
pub(super) mod tokens;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::error::{ParameterError, shown};
use super::model::StopStrings;
use super::parameters::{GenerationParameters, GlobalAttentionMask, ModelDefaults};
use super::processors::{LogitsProcessors, Settings};
pub(crate) use lengths::Lengths;
pub(crate) use lookup::Lookup;
pub(crate) use strategy::{Beams, Sampling, Strategy};
pub(crate) use tokens::SpecialTokens;

/// Limits of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Number of decoder positions; `None` if positions are unlimited (T5).
    pub max_target_positions: Option<usize>,
    /// Number of tokens that the decoder scores.
    pub vocab_size: usize,
    /// Whether the encoder supports tokens with global attention.
    pub global_attention: bool,
}

/// The checked configuration of a search.
#[derive(Debug, Clone)]
pub struct GenerationConfig {
    /// The caller's parameters merged with the model's defaults, for the logits processors.
    parameters: GenerationParameters,
    pub(crate) lengths: Lengths,
    pub(crate) tokens: SpecialTokens,
    pub(crate) strategy: Strategy,
    pub(crate) num_return_sequences: usize,
    pub(crate) stopping: StoppingSettings,
    pub(crate) output_scores: bool,
    pub(crate) lookup: Option<Lookup>,
    global_attention_mask: GlobalAttentionMask,
}

/// What ends a search besides end tokens and `max_length`.
#[derive(Clone)]
pub(crate) struct StoppingSettings {
    pub(crate) max_time: Option<Duration>,
    pub(crate) stop_strings: Vec<String>,
    pub(crate) matcher: Option<Arc<dyn StopStrings>>,
}

impl fmt::Debug for StoppingSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StoppingSettings")
            .field("max_time", &self.max_time)
            .field("stop_strings", &self.stop_strings)
            .field("matcher", &self.matcher.is_some())
            .finish()
    }
}

impl GenerationConfig {
    /// Merges `params` with `defaults`, a model's generation_config.json, within `limits`.
    ///
    /// Only parameters that this search uses are checked: a temperature of 0 is no error without
    /// sampling.
    ///
    /// # Errors
    /// A [`ParameterError`] naming the parameter that is out of range, contradicts another one, is
    /// not supported, or is missing.
    pub fn resolve(
        defaults: &Map<String, Value>,
        params: &GenerationParameters,
        limits: Limits,
    ) -> Result<Self, ParameterError> {
        let merged = ModelDefaults::read(defaults).under(params)?;
        Self::of(merged, params, limits).map_err(|error| match error {
            ParameterError::Invalid { name, .. } if !params.sets(name) => {
                ParameterError::ModelDefaults(Box::new(error))
            }
            other => other,
        })
    }

    fn of(
        merged: GenerationParameters,
        params: &GenerationParameters,
        limits: Limits,
    ) -> Result<Self, ParameterError> {
        merged.check(merged.mode())?;
        let tokens = SpecialTokens::resolve(&merged, limits.vocab_size);
        let lengths = Lengths::resolve(&merged, params, &tokens, limits.max_target_positions)?;
        let strategy = Strategy::resolve(&merged, params, &tokens)?;
        let num_return_sequences = strategy.return_sequences(&merged)?;
        let config = Self {
            num_return_sequences,
            stopping: StoppingSettings {
                max_time: merged.max_time.map(seconds),
                stop_strings: merged.stop_strings.clone().unwrap_or_default(),
                matcher: None,
            },
            output_scores: merged.output_scores.unwrap_or(false),
            global_attention_mask: global_attention_mask(&merged, params, limits)?,
            lookup: Lookup::resolve(&merged, params, &strategy, num_return_sequences)?,
            parameters: merged,
            lengths,
            tokens,
            strategy,
        };
        // Processors check their parameters when they are made.
        config.processors()?;
        Ok(config)
    }

    /// Creates the logits processors.
    pub(super) fn processors(&self) -> Result<LogitsProcessors, ParameterError> {
        LogitsProcessors::new(&Settings {
            parameters: &self.parameters,
            tokens: &self.tokens,
            lengths: &self.lengths,
        })
    }

    /// Decoder rows of each document: its beams, or its sampled sequences.
    #[must_use]
    pub fn rows_per_document(&self) -> usize {
        match (&self.strategy, self.strategy.beams()) {
            (_, Some(beams)) => beams.num_beams,
            (Strategy::Greedy, None) => 1,
            (_, None) => self.num_return_sequences,
        }
    }

    /// Maximum length of a sequence in tokens, including the decoder start. The decoder makes at
    /// most one step fewer.
    #[must_use]
    pub fn max_length(&self) -> usize {
        self.lengths.max_length
    }

    /// Maximum number of tokens of a sequence that the decoder reads.
    pub(crate) fn longest_history(&self) -> usize {
        self.lengths.longest_history()
    }

    /// Tokens with which every sequence starts: the decoder start, then the caller's
    /// `decoder_input_ids`.
    #[must_use]
    pub fn prompt(&self) -> &[u32] {
        &self.lengths.prompt
    }

    /// The padding token, or the first end token if there is none.
    fn pad_token_id(&self) -> Option<i64> {
        self.parameters.pad_token_id.or(self.first_end())
    }

    /// The token with which transformers' `generate` fills the rows of shorter sequences: padding,
    /// or after beam search the end token if padding is token 0.
    #[must_use]
    pub fn fill_token_id(&self) -> i64 {
        let pad = self.pad_token_id();
        match (&self.strategy, self.first_end()) {
            (Strategy::Beam { .. }, None) => -1,
            (Strategy::Beam { .. }, Some(end)) => pad.filter(|pad| *pad != 0).unwrap_or(end),
            _ => pad.unwrap_or(0),
        }
    }

    /// The first end token of the parameters.
    fn first_end(&self) -> Option<i64> {
        self.parameters.eos_token_id.as_deref().unwrap_or_default().first().copied()
    }

    /// The token that replaces a sequence that was not found.
    pub(crate) fn pad(&self) -> u32 {
        self.tokens.pad
    }

    /// Number of sequences returned for each document.
    #[must_use]
    pub fn num_return_sequences(&self) -> usize {
        self.num_return_sequences
    }

    /// The source tokens with global attention.
    #[must_use]
    pub fn global_attention_mask(&self) -> &GlobalAttentionMask {
        &self.global_attention_mask
    }

    /// Texts that end a sequence. If there are any, [`Self::with_stop_strings`] must be called.
    #[must_use]
    pub fn stop_strings(&self) -> &[String] {
        &self.stopping.stop_strings
    }

    /// Adds the matcher of the stop strings.
    #[must_use]
    pub fn with_stop_strings(mut self, matcher: Arc<dyn StopStrings>) -> Self {
        self.stopping.matcher = Some(matcher);
        self
    }
}

/// `merged` is `params` merged with the model's defaults.
fn global_attention_mask(
    merged: &GenerationParameters,
    params: &GenerationParameters,
    limits: Limits,
) -> Result<GlobalAttentionMask, ParameterError> {
    if limits.global_attention {
        return Ok(merged.global_attention_mask.clone().unwrap_or_default());
    }
    match &params.global_attention_mask {
        Some(mask) if !mask.is_none() => Err(ParameterError::Contradiction {
            name: GlobalAttentionMask::NAME,
            value: shown(mask.to_json().to_string()),
            reason: "the model has no global attention, which only models of LED have".to_owned(),
        }),
        _ => Ok(GlobalAttentionMask::none()),
    }
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "literals of json! read best where they are used")]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: Limits =
        Limits { max_target_positions: Some(64), vocab_size: 100, global_attention: false };

    fn resolve(defaults: Value, parameters: Value) -> Result<GenerationConfig, ParameterError> {
        let mut model = json!({"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0});
        let map = model.as_object_mut().expect("map");
        map.extend(defaults.as_object().expect("map").clone());
        let parameters =
            GenerationParameters::from_json(parameters.as_object().expect("map")).expect("valid");
        GenerationConfig::resolve(map, &parameters, LIMITS)
    }

    fn message(parameters: Value) -> String {
        resolve(json!({}), parameters).expect_err("an error").to_string()
    }

    #[test]
    fn lengths_resolve_as_transformers_resolves_them() {
        let max = |defaults, parameters| {
            resolve(defaults, parameters).expect("consistent").lengths.max_length
        };
        assert_eq!(max(json!({}), json!({})), 21, "20 new tokens beside the start");
        assert_eq!(max(json!({"max_length": 30}), json!({})), 30);
        assert_eq!(max(json!({"max_length": 30}), json!({"max_length": 12})), 12);
        assert_eq!(max(json!({"max_length": 30}), json!({"max_new_tokens": 12})), 13);
        assert_eq!(max(json!({"max_new_tokens": 5}), json!({"max_length": 30})), 6);
        assert_eq!(max(json!({}), json!({"decoder_input_ids": [5, 6]})), 23);
        assert_eq!(max(json!({}), json!({"decoder_input_ids": [0, 6]})), 22);
        let min = resolve(json!({"min_length": 9}), json!({"min_new_tokens": 3})).expect("fine");
        assert_eq!(min.lengths.min_length, 4);
    }

    #[test]
    fn the_default_length_ends_with_the_models_positions() {
        let limits = Limits { max_target_positions: Some(16), ..LIMITS };
        let model = json!({"decoder_start_token_id": 0});
        let config =
            GenerationConfig::resolve(model.as_object().expect("map"), &Default::default(), limits);
        assert_eq!(config.expect("fine").max_length(), 16);
    }

    #[test]
    fn contradictions_are_named() {
        assert!(
            message(json!({"num_beams": 2, "num_return_sequences": 3}))
                .contains("`num_beams`, which is 2")
        );
        assert!(message(json!({"num_return_sequences": 3})).contains("greedy search finds one"));
        assert!(
            message(json!({"max_length": 2, "decoder_input_ids": [0, 4]}))
                .contains("starts with 2")
        );
        assert!(message(json!({"min_length": 50, "max_length": 40})).contains("has 40 tokens"));
        assert!(
            message(json!({"suppress_tokens": [1], "forced_eos_token_id": 1}))
                .contains("forbids it")
        );
        assert!(message(json!({"bad_words_ids": [[1]]})).contains("cannot be a bad word"));
        assert!(message(json!({"forced_bos_token_id": 100})).contains("below 100"));
        assert!(
            message(json!({"exponential_decay_length_penalty": [0, 1e30]})).contains("overflows")
        );
    }

    #[test]
    fn a_models_minimum_yields_to_the_callers_maximum() {
        let config = resolve(json!({"min_length": 50}), json!({"max_length": 40})).expect("fine");
        assert_eq!(config.max_length(), 40);
    }

    #[test]
    fn the_models_own_faults_are_blamed_on_the_model() {
        let error = resolve(json!({"num_beams": 0}), json!({})).expect_err("no beams");
        assert!(error.to_string().starts_with("in the model's generation_config.json:"));
        let error = resolve(json!({"forced_bos_token_id": 100}), json!({})).expect_err("no token");
        assert!(error.to_string().starts_with("in the model's generation_config.json:"));
        let error = GenerationConfig::resolve(&Map::new(), &Default::default(), LIMITS);
        assert!(error.expect_err("no start").to_string().contains("`decoder_start_token_id`"));
    }

    /// Each of these works in transformers, both in a model's defaults and in a request.
    #[test]
    fn unused_parameters_are_not_checked() {
        for unused in [
            json!({"temperature": 0.0, "do_sample": false}),
            json!({"temperature": -1.5, "num_beams": 3}),
            json!({"top_k": -1}),
            json!({"top_p": -0.5}),
            json!({"min_p": 7, "typical_p": -1, "top_h": 0}),
            json!({"epsilon_cutoff": -1, "eta_cutoff": 12}),
            json!({"epsilon_cutoff": 2, "eta_cutoff": -1, "top_p": 1.5, "do_sample": true}),
            json!({"pad_token_id": -1}),
            json!({"pad_token_id": 100_000, "num_beams": 2}),
            json!({"eos_token_id": [1, 100]}),
            json!({"eos_token_id": -1}),
            json!({"eos_token_id": []}),
            json!({"bos_token_id": -1}),
            json!({"suppress_tokens": [-1, 100], "begin_suppress_tokens": [500]}),
            json!({"max_length": -3, "max_new_tokens": 5}),
            json!({"min_length": -1, "no_repeat_ngram_size": -1}),
            json!({"encoder_no_repeat_ngram_size": -2}),
            json!({"diversity_penalty": -1.0}),
            json!({"max_time": -1}),
        ] {
            let by_request = resolve(json!({}), unused.clone());
            assert!(by_request.is_ok(), "{unused}: {by_request:?}");
            let by_model = resolve(unused.clone(), json!({}));
            assert!(by_model.is_ok(), "{unused}: {by_model:?}");
        }
        // Values of a wrong type pass only in a model's defaults; a caller gets an error.
        for unused in [
            json!({"temperature": "hot", "early_stopping": 7, "length_penalty": "long"}),
            json!({"penalty_alpha": 0.6, "num_beams": 2}),
            json!({"penalty_alpha": 0.6, "top_k": 1}),
            json!({"dola_layers": "high", "num_beams": 2}),
            json!({"prompt_lookup_num_tokens": 0, "num_beams": 2}),
        ] {
            let by_model = resolve(unused.clone(), json!({}));
            assert!(by_model.is_ok(), "{unused}: {by_model:?}");
        }
        let overruled = resolve(json!({"num_beams": "many"}), json!({"num_beams": 2}));
        assert!(overruled.is_ok(), "{overruled:?}");
    }

    #[test]
    fn what_the_search_uses_is_judged() {
        for (used, name) in [
            (json!({"temperature": 0.0, "do_sample": true}), "temperature"),
            (json!({"top_k": -1, "do_sample": true}), "top_k"),
            (json!({"top_p": -0.5, "do_sample": true}), "top_p"),
            (json!({"min_p": 1.5, "do_sample": true}), "min_p"),
            (json!({"typical_p": 0, "do_sample": true}), "typical_p"),
            (json!({"top_h": 0, "do_sample": 1}), "top_h"),
            (json!({"diversity_penalty": -1, "num_beams": 2}), "diversity_penalty"),
            (json!({"forced_bos_token_id": 100}), "forced_bos_token_id"),
            (json!({"bad_words_ids": [[5, 100]]}), "bad_words_ids"),
            (json!({"prompt_lookup_num_tokens": 0}), "prompt_lookup_num_tokens"),
            (json!({"max_length": -3}), "max_length"),
            (json!({"repetition_penalty": 0}), "repetition_penalty"),
        ] {
            let mut defaults = used.clone();
            let caller = used.as_object().expect("map");
            if let Ok(parameters) = GenerationParameters::from_json(caller) {
                let model = json!({"decoder_start_token_id": 0, "eos_token_id": 1});
                let model = model.as_object().expect("map");
                let error = GenerationConfig::resolve(model, &parameters, LIMITS);
                let error = error.expect_err(name).to_string();
                assert!(
                    error.starts_with("generation parameter") && error.contains(name),
                    "{error}"
                );
            }
            let error = resolve(defaults.take(), json!({})).expect_err(name).to_string();
            assert!(error.contains(name), "{error}");
        }
        let error = resolve(json!({"early_stopping": 7, "num_beams": 2}), json!({}));
        let error = error.expect_err("beams use it").to_string();
        assert!(error.starts_with("in the model's generation_config.json"), "{error}");
    }

    #[test]
    fn end_tokens_that_the_vocabulary_lacks_count_as_candidates() {
        let config = resolve(json!({"eos_token_id": [1, -1, 100]}), json!({})).expect("fine");
        assert_eq!(config.tokens.eos, [1]);
        assert_eq!(config.tokens.candidates_per_beam(), 4);
    }

    #[test]
    fn rows_are_filled_as_transformers_fills_them() {
        let fill = |model: Value, parameters: Value| {
            let mut defaults = json!({"decoder_start_token_id": 0, "max_length": 9});
            let map = defaults.as_object_mut().expect("map");
            map.extend(model.as_object().expect("map").clone());
            let parameters = parameters.as_object().expect("map");
            let parameters = GenerationParameters::from_json(parameters).expect("valid");
            GenerationConfig::resolve(map, &parameters, LIMITS).expect("fine").fill_token_id()
        };
        let beams = || json!({"num_beams": 2});
        assert_eq!(fill(json!({"pad_token_id": 0, "eos_token_id": 1}), json!({})), 0);
        assert_eq!(fill(json!({"pad_token_id": 0, "eos_token_id": 1}), beams()), 1);
        assert_eq!(fill(json!({"pad_token_id": 3, "eos_token_id": 1}), beams()), 3);
        assert_eq!(fill(json!({"eos_token_id": [2, 1]}), json!({})), 2);
        assert_eq!(fill(json!({"pad_token_id": 3}), beams()), -1);
    }

    #[test]
    fn a_greatest_length_beyond_the_positions_is_allowed() {
        let config = resolve(json!({}), json!({"max_length": 500})).expect("not reached yet");
        assert_eq!((config.max_length(), config.longest_history()), (500, 64));
        let said = config.lengths.beyond_positions(64).to_string();
        assert!(said.contains("`max_length` is 500") && said.contains("at most 65"), "{said}");
        let config = resolve(json!({}), json!({"max_new_tokens": usize::MAX})).expect("the same");
        let said = config.lengths.beyond_positions(64).to_string();
        assert!(said.contains("`max_new_tokens`") && said.contains("at most 64"), "{said}");
    }

    #[test]
    fn only_models_with_global_attention_take_a_mask() {
        let limits = Limits { global_attention: true, ..LIMITS };
        let resolve = |default: Value, asked: Value, limits| {
            let model = json!({"decoder_start_token_id": 0, "global_attention_mask": default});
            let asked = json!({"global_attention_mask": asked});
            let asked = GenerationParameters::from_json(asked.as_object().expect("map"))?;
            let config =
                GenerationConfig::resolve(model.as_object().expect("map"), &asked, limits)?;
            Ok::<_, ParameterError>(config.global_attention_mask().to_json())
        };
        for (default, asked, expected) in [
            (json!("first"), json!("none"), json!("none")),
            (json!("first"), json!([0, 1, false, 1.0]), json!([0, 1, 0, 1])),
            (json!("none"), json!("first"), json!("first")),
            (json!("none"), json!([1]), json!("first")),
            (json!([0, 1]), json!([0, 0]), json!("none")),
            (json!("first"), json!(null), json!("none")),
        ] {
            assert_eq!(resolve(default, asked.clone(), limits), Ok(expected), "{asked}");
        }
        let others = |asked| resolve(json!("first"), asked, LIMITS);
        assert_eq!(others(json!("none")), Ok(json!("none")));
        assert_eq!(others(json!([0, 0])), Ok(json!("none")));
        let error = others(json!([0, 1])).expect_err("no global attention").to_string();
        assert!(error.contains("`global_attention_mask` is [0,1]"), "{error}");
        assert!(error.contains("only models of LED"), "{error}");
        for bad in [json!("last"), json!([2]), json!(1), json!([[1, 0]]), json!({})] {
            assert!(matches!(others(bad), Err(ParameterError::Invalid { .. })));
        }
    }

    #[test]
    fn rows_follow_the_strategy() {
        let rows = |parameters| resolve(json!({}), parameters).expect("fine").rows_per_document();
        assert_eq!(rows(json!({})), 1);
        assert_eq!(rows(json!({"num_beams": 4, "num_return_sequences": 2})), 4);
        assert_eq!(rows(json!({"do_sample": true, "num_return_sequences": 3})), 3);
    }
}
