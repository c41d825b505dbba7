//! What a search follows: parameters over the model's defaults, resolved as transformers resolves them.
//!
//! Implements `GenerationMixin._prepare_generation_config`, `_prepare_special_tokens`,
//! `_prepare_generated_length`, `_validate_generated_length`, `GenerationConfig.get_generation_mode` and the checks
//! across parameters of `GenerationConfig.validate` (transformers 5.23.0).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::beam_mode::BeamMode;
use super::error::ParameterError;
use super::model::StopStrings;
use super::parameters::{
    Constraint, EarlyStopping, ExponentialDecay, GenerationParameters, MAX_ROWS, SequenceBias,
};

/// What the model allows, whatever is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Decoder positions that the model has, `None` where its positions are without end (T5).
    pub max_target_positions: Option<usize>,
    /// Tokens that the decoder scores.
    pub vocab_size: usize,
}

/// Effective settings of a search, consistent and within the model's limits.
#[derive(Debug, Clone)]
pub struct GenerationConfig {
    pub(crate) lengths: Lengths,
    pub(crate) tokens: SpecialTokens,
    pub(crate) strategy: Strategy,
    pub(crate) num_return_sequences: usize,
    pub(crate) processors: ProcessorSettings,
    pub(crate) stopping: StoppingSettings,
    pub(crate) output_scores: bool,
    pub(crate) lookup: Option<Lookup>,
    pub(crate) vocab_size: usize,
}

/// Settings of prompt lookup.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lookup {
    /// Most tokens of a draft.
    pub(crate) tokens: usize,
    /// Most of the newest tokens that are looked up.
    pub(crate) ngram_size: usize,
}

/// Token counts that bound a sequence, the prompt included.
#[derive(Debug, Clone)]
pub(crate) struct Lengths {
    /// Decoder start and what the caller wants after it.
    pub(crate) prompt: Vec<u32>,
    pub(crate) max_length: usize,
    pub(crate) min_length: usize,
    pub(crate) min_new_tokens: usize,
}

/// Tokens with a meaning.
#[derive(Debug, Clone)]
pub(crate) struct SpecialTokens {
    /// Any of these ends a sequence; empty where the model has none.
    pub(crate) eos: Vec<u32>,
    /// Fed to rows that are finished while others of their document are not.
    pub(crate) pad: u32,
}

/// How tokens are chosen: transformers' generation mode.
#[derive(Debug, Clone)]
pub(crate) enum Strategy {
    /// The best token at each step.
    Greedy,
    /// A random token at each step.
    Sample(Sampling),
    /// The best sequences; with `sampling`, candidates are drawn and not ranked.
    Beam {
        beams: Beams,
        sampling: Option<Sampling>,
    },
    /// The best sequences of groups that differ; their number divides that of the beams.
    GroupBeam { beams: Beams, groups: usize },
    /// The best sequences that contain what they must.
    ConstrainedBeam {
        beams: Beams,
        constraints: Vec<Constraint>,
    },
}

/// Settings of beam search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beams {
    pub(crate) num_beams: usize,
    pub(crate) length_penalty: f64,
    pub(crate) early_stopping: EarlyStopping,
}

/// Settings of the draws; those that are off are `None`.
#[derive(Debug, Clone)]
pub(crate) struct Sampling {
    pub(crate) seed: u64,
    pub(crate) temperature: Option<f64>,
    pub(crate) top_h: Option<f64>,
    pub(crate) top_k: Option<usize>,
    pub(crate) top_p: Option<f64>,
    pub(crate) min_p: Option<f64>,
    pub(crate) typical_p: Option<f64>,
    pub(crate) epsilon_cutoff: Option<f64>,
    pub(crate) eta_cutoff: Option<f64>,
    /// Tokens that every filter leaves: beams need one beside the end tokens.
    pub(crate) min_tokens_to_keep: usize,
}

/// Settings of the logits processors; those that are off are `None` or empty.
#[derive(Debug, Clone)]
pub(crate) struct ProcessorSettings {
    pub(crate) sequence_bias: Vec<SequenceBias>,
    pub(crate) diversity_penalty: Option<f64>,
    pub(crate) encoder_repetition_penalty: Option<f64>,
    pub(crate) repetition_penalty: Option<f64>,
    pub(crate) no_repeat_ngram_size: usize,
    pub(crate) encoder_no_repeat_ngram_size: usize,
    pub(crate) bad_words_ids: Vec<Vec<u32>>,
    pub(crate) forced_bos_token_id: Option<u32>,
    pub(crate) forced_eos_token_id: Vec<u32>,
    pub(crate) remove_invalid_values: bool,
    pub(crate) exponential_decay: Option<ExponentialDecay>,
    pub(crate) suppress_tokens: Vec<u32>,
    pub(crate) begin_suppress_tokens: Vec<u32>,
    pub(crate) renormalize_logits: bool,
}

/// What ends a search beside end tokens and `max_length`.
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

/// transformers' `max_length` where neither model nor caller gives one, counted from the prompt's end.
const DEFAULT_NEW_TOKENS: usize = 20;
/// transformers' `max_matching_ngram_size` where neither model nor caller gives one.
const DEFAULT_NGRAM_SIZE: usize = 2;
/// transformers' `top_k` where neither model nor caller gives one.
const DEFAULT_TOP_K: usize = 50;

impl GenerationConfig {
    /// Resolves `params` over `defaults`, a model's generation_config.json, within `limits`.
    ///
    /// # Errors
    /// A [`ParameterError`] naming the parameter that is out of range, contradicts another one, is not supported,
    /// or is missing.
    pub fn resolve(
        defaults: &Map<String, Value>,
        params: &GenerationParameters,
        limits: Limits,
    ) -> Result<Self, ParameterError> {
        params.validate()?;
        let defaults = GenerationParameters::from_model_defaults(defaults)?;
        let merged = params.overlaid_on(&defaults);
        check_token_ids(params, limits.vocab_size)?;
        check_token_ids(&merged, limits.vocab_size)
            .map_err(|error| ParameterError::ModelDefaults(Box::new(error)))?;

        let tokens = SpecialTokens::resolve(&merged);
        let lengths = Lengths::resolve(&merged, params, limits)?;
        let mode = BeamMode::resolve(&merged, params)?;
        let strategy = Strategy::resolve(&merged, mode, &tokens, limits)?;
        let num_return_sequences = return_sequences(&merged, &strategy)?;
        let processors = ProcessorSettings::resolve(&merged, &tokens, &lengths)?;
        Ok(Self {
            num_return_sequences,
            stopping: StoppingSettings {
                max_time: merged.max_time.map(seconds),
                stop_strings: merged.stop_strings.clone().unwrap_or_default(),
                matcher: None,
            },
            output_scores: merged.output_scores.unwrap_or(false),
            lookup: Lookup::resolve(&merged, params, &strategy, num_return_sequences)?,
            vocab_size: limits.vocab_size,
            lengths,
            tokens,
            strategy,
            processors,
        })
    }

    /// Decoder rows that each document occupies: its beams, or its sampled sequences.
    #[must_use]
    pub fn rows_per_document(&self) -> usize {
        match &self.strategy {
            Strategy::Greedy => 1,
            Strategy::Sample(_) => self.num_return_sequences,
            Strategy::Beam { beams, .. }
            | Strategy::GroupBeam { beams, .. }
            | Strategy::ConstrainedBeam { beams, .. } => beams.num_beams,
        }
    }

    /// Longest sequence in tokens, the decoder start included. The decoder makes at most one step fewer.
    #[must_use]
    pub fn max_length(&self) -> usize {
        self.lengths.max_length
    }

    /// Tokens with which every sequence starts: the decoder start, then the caller's `decoder_input_ids`.
    #[must_use]
    pub fn prompt(&self) -> &[u32] {
        &self.lengths.prompt
    }

    /// Tokens of which any ends a sequence.
    #[must_use]
    pub fn eos_token_ids(&self) -> &[u32] {
        &self.tokens.eos
    }

    /// Sequences returned for each document.
    #[must_use]
    pub fn num_return_sequences(&self) -> usize {
        self.num_return_sequences
    }

    /// Whether tokens are drawn at random.
    #[must_use]
    pub fn do_sample(&self) -> bool {
        matches!(
            self.strategy,
            Strategy::Sample(_)
                | Strategy::Beam {
                    sampling: Some(_),
                    ..
                }
        )
    }

    /// Whether this is beam search, whose tokens are final only at the end.
    #[must_use]
    pub fn is_beam_search(&self) -> bool {
        !matches!(self.strategy, Strategy::Greedy | Strategy::Sample(_))
    }

    /// Whether tokens are drafted from the source, where a document decodes alone.
    #[must_use]
    pub fn drafts(&self) -> bool {
        self.lookup.is_some()
    }

    /// Texts that end a sequence; where there are any, [`Self::with_stop_strings`] must follow.
    #[must_use]
    pub fn stop_strings(&self) -> &[String] {
        &self.stopping.stop_strings
    }

    /// Gives the search the tokenizer's knowledge of which token histories end in a stop string.
    #[must_use]
    pub fn with_stop_strings(mut self, matcher: Arc<dyn StopStrings>) -> Self {
        self.stopping.matcher = Some(matcher);
        self
    }
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX)
}

/// Every token id must be one of the vocabulary: transformers fails later, or reads out of range, where one is not.
fn check_token_ids(parameters: &GenerationParameters, vocab: usize) -> Result<(), ParameterError> {
    let check = |name: &'static str, ids: &[u32]| match ids.iter().find(|id| **id as usize >= vocab)
    {
        Some(id) => Err(ParameterError::Invalid {
            name,
            value: format!("{id}"),
            allowed: format!("below {vocab}, the size of the model's vocabulary"),
        }),
        None => Ok(()),
    };
    let one = |name, id: &Option<u32>| check(name, id.as_slice());
    let several = |name, ids: &Option<Vec<u32>>| check(name, ids.as_deref().unwrap_or_default());
    one("decoder_start_token_id", &parameters.decoder_start_token_id)?;
    one("bos_token_id", &parameters.bos_token_id)?;
    one("pad_token_id", &parameters.pad_token_id)?;
    one("forced_bos_token_id", &parameters.forced_bos_token_id)?;
    several("eos_token_id", &parameters.eos_token_id)?;
    several("forced_eos_token_id", &parameters.forced_eos_token_id)?;
    several("suppress_tokens", &parameters.suppress_tokens)?;
    several("begin_suppress_tokens", &parameters.begin_suppress_tokens)?;
    several("decoder_input_ids", &parameters.decoder_input_ids)?;
    for ids in parameters.bad_words_ids.iter().flatten() {
        check("bad_words_ids", ids)?;
    }
    for one in parameters.sequence_bias.iter().flatten() {
        check("sequence_bias", &one.token_ids)?;
    }
    for constraint in parameters.constraints.iter().flatten() {
        check("constraints", &constraint.tokens())?;
    }
    for constraint in parameters.force_words_ids.iter().flatten() {
        check("force_words_ids", &constraint.tokens())?;
    }
    Ok(())
}

impl SpecialTokens {
    fn resolve(merged: &GenerationParameters) -> Self {
        let eos = merged.eos_token_id.clone().unwrap_or_default();
        let pad = merged.pad_token_id.or(eos.first().copied()).unwrap_or(0);
        Self { eos, pad }
    }
}

impl Lengths {
    fn resolve(
        merged: &GenerationParameters,
        params: &GenerationParameters,
        limits: Limits,
    ) -> Result<Self, ParameterError> {
        let start = merged
            .decoder_start_token_id
            .or(merged.bos_token_id)
            .ok_or(ParameterError::Missing {
                name: "decoder_start_token_id",
            })?;
        let mut prompt = merged.decoder_input_ids.clone().unwrap_or_default();
        if prompt.first() != Some(&start) {
            prompt.insert(0, start);
        }

        // Which parameter decided the length, for messages.
        let (max_length, name, value) = match (merged.max_new_tokens, merged.max_length) {
            (Some(new), _) => (new.saturating_add(prompt.len()), "max_new_tokens", new),
            (None, Some(length)) => (length, "max_length", length),
            (None, None) => {
                let length = DEFAULT_NEW_TOKENS + prompt.len();
                let length = limits
                    .max_target_positions
                    .map_or(length, |most| most.min(length));
                (length, "max_length", length)
            }
        };
        if prompt.len() >= max_length {
            return Err(ParameterError::Contradiction {
                name,
                value: value.to_string(),
                reason: format!(
                    "the decoder already starts with {} tokens; it must be above that",
                    prompt.len()
                ),
            });
        }
        if let Some(most) = limits.max_target_positions
            && max_length > most
        {
            let most = if name == "max_length" {
                most
            } else {
                most.saturating_sub(prompt.len())
            };
            return Err(ParameterError::Invalid {
                name,
                value: value.to_string(),
                allowed: format!("at most {most}, which is as far as the model's positions reach"),
            });
        }
        let min_new_tokens = merged.min_new_tokens.unwrap_or(0);
        let min_length = match merged.min_new_tokens {
            Some(new) => new.saturating_add(prompt.len()),
            None => merged.min_length.unwrap_or(0),
        };
        // transformers warns. One who asks for both is told; a model's default only yields to max_length.
        let asked = [
            ("min_new_tokens", params.min_new_tokens),
            ("min_length", params.min_length),
        ];
        let asked = asked
            .into_iter()
            .find_map(|(name, value)| Some((name, value?)));
        if let Some((name, value)) = asked
            && min_length > max_length
        {
            return Err(ParameterError::Contradiction {
                name,
                value: value.to_string(),
                reason: format!("the longest sequence allowed has {max_length} tokens"),
            });
        }
        Ok(Self {
            prompt,
            max_length,
            min_length,
            min_new_tokens,
        })
    }
}

impl Lookup {
    /// Drafts serve one sequence that grows token by token. Who asks for more is told; a model's
    /// default only yields, as in transformers.
    fn resolve(
        merged: &GenerationParameters,
        params: &GenerationParameters,
        strategy: &Strategy,
        sequences: usize,
    ) -> Result<Option<Self>, ParameterError> {
        let Some(tokens) = merged.prompt_lookup_num_tokens else {
            return Ok(None);
        };
        let single = matches!(strategy, Strategy::Greedy | Strategy::Sample(_)) && sequences == 1;
        if single {
            let ngram_size = merged.max_matching_ngram_size;
            return Ok(Some(Self {
                tokens,
                ngram_size: ngram_size.unwrap_or(DEFAULT_NGRAM_SIZE),
            }));
        }
        match params.prompt_lookup_num_tokens {
            None => Ok(None),
            Some(tokens) => Err(ParameterError::Contradiction {
                name: "prompt_lookup_num_tokens",
                value: tokens.to_string(),
                reason: "drafts are for greedy search and sampling of one sequence; \
                         set num_beams and num_return_sequences to 1"
                    .into(),
            }),
        }
    }
}

impl Strategy {
    fn resolve(
        merged: &GenerationParameters,
        mode: BeamMode,
        tokens: &SpecialTokens,
        limits: Limits,
    ) -> Result<Self, ParameterError> {
        let num_beams = merged.num_beams.unwrap_or(1);
        let sampling = merged.do_sample.unwrap_or(false).then(|| {
            let ends = tokens.eos.len();
            Sampling {
                seed: merged.seed.unwrap_or(0),
                temperature: merged.temperature.filter(|value| *value != 1.0),
                top_h: merged.top_h,
                top_k: Some(merged.top_k.unwrap_or(DEFAULT_TOP_K)).filter(|value| *value != 0),
                top_p: merged.top_p.filter(|value| *value < 1.0),
                min_p: merged.min_p,
                typical_p: merged.typical_p.filter(|value| *value < 1.0),
                epsilon_cutoff: merged
                    .epsilon_cutoff
                    .filter(|value| *value > 0.0 && *value < 1.0),
                eta_cutoff: merged
                    .eta_cutoff
                    .filter(|value| *value > 0.0 && *value < 1.0),
                min_tokens_to_keep: if num_beams > 1 { ends.max(1) + 1 } else { 1 },
            }
        });
        if num_beams == 1 {
            return Ok(sampling.map_or(Self::Greedy, Self::Sample));
        }
        if limits.vocab_size < candidates_per_beam(tokens) {
            return Err(ParameterError::Contradiction {
                name: "num_beams",
                value: num_beams.to_string(),
                reason: format!(
                    "the vocabulary has {} tokens, too few to rank {} candidates for each beam",
                    limits.vocab_size,
                    candidates_per_beam(tokens)
                ),
            });
        }
        let beams = Beams {
            num_beams,
            length_penalty: merged.length_penalty.unwrap_or(1.0),
            early_stopping: merged.early_stopping.unwrap_or_default(),
        };
        Ok(match mode {
            BeamMode::Plain => Self::Beam { beams, sampling },
            BeamMode::Groups(groups) => Self::GroupBeam { beams, groups },
            BeamMode::Constraints(constraints) => Self::ConstrainedBeam { beams, constraints },
        })
    }
}

/// Candidates that beam search ranks for each beam: even if every beam ends in every way, enough go on.
pub(crate) fn candidates_per_beam(tokens: &SpecialTokens) -> usize {
    (1 + tokens.eos.len()).max(2)
}

fn return_sequences(
    merged: &GenerationParameters,
    strategy: &Strategy,
) -> Result<usize, ParameterError> {
    let wanted = merged.num_return_sequences.unwrap_or(1);
    let (most, reason) = match strategy {
        Strategy::Greedy => (
            1,
            "greedy search finds one; set `num_beams` to that many, or `do_sample`".to_owned(),
        ),
        Strategy::Sample(_) => (MAX_ROWS, String::new()),
        Strategy::Beam { beams, .. }
        | Strategy::GroupBeam { beams, .. }
        | Strategy::ConstrainedBeam { beams, .. } => (
            beams.num_beams,
            format!(
                "beam search finds at most `num_beams`, which is {}",
                beams.num_beams
            ),
        ),
    };
    if wanted > most {
        return Err(ParameterError::Contradiction {
            name: "num_return_sequences",
            value: wanted.to_string(),
            reason,
        });
    }
    Ok(wanted)
}

impl ProcessorSettings {
    fn resolve(
        merged: &GenerationParameters,
        tokens: &SpecialTokens,
        lengths: &Lengths,
    ) -> Result<Self, ParameterError> {
        let suppress_tokens = merged.suppress_tokens.clone().unwrap_or_default();
        let forced_eos_token_id = merged.forced_eos_token_id.clone().unwrap_or_default();
        let forced = [
            ("forced_bos_token_id", merged.forced_bos_token_id.as_slice()),
            ("forced_eos_token_id", forced_eos_token_id.as_slice()),
        ];
        for (name, ids) in forced {
            if !ids.is_empty() && ids.iter().all(|id| suppress_tokens.contains(id)) {
                return Err(ParameterError::Contradiction {
                    name,
                    value: format!("{ids:?}"),
                    reason: "`suppress_tokens` forbids it, which would leave no token at all"
                        .to_owned(),
                });
            }
        }
        // An end token alone is no bad word: transformers passes over it, and fails where nothing else is left.
        let mut bad_words_ids = merged.bad_words_ids.clone().unwrap_or_default();
        let given = bad_words_ids.len();
        bad_words_ids.retain(|ids| !matches!(ids.as_slice(), [id] if tokens.eos.contains(id)));
        if given > 0 && bad_words_ids.is_empty() {
            return Err(ParameterError::Contradiction {
                name: "bad_words_ids",
                value: format!("{:?}", merged.bad_words_ids.as_deref().unwrap_or_default()),
                reason: "an end token alone cannot be a bad word; use `min_new_tokens` to put off \
                         the end"
                    .to_owned(),
            });
        }
        if let Some(decay) = merged.exponential_decay_length_penalty {
            check_decay(decay, tokens, lengths)?;
        }
        Ok(Self {
            sequence_bias: merged.sequence_bias.clone().unwrap_or_default(),
            diversity_penalty: merged.diversity_penalty.filter(|value| *value > 0.0),
            encoder_repetition_penalty: merged
                .encoder_repetition_penalty
                .filter(|value| *value != 1.0),
            repetition_penalty: merged.repetition_penalty.filter(|value| *value != 1.0),
            no_repeat_ngram_size: merged.no_repeat_ngram_size.unwrap_or(0),
            encoder_no_repeat_ngram_size: merged.encoder_no_repeat_ngram_size.unwrap_or(0),
            bad_words_ids,
            forced_bos_token_id: merged.forced_bos_token_id,
            forced_eos_token_id,
            remove_invalid_values: merged.remove_invalid_values.unwrap_or(false),
            exponential_decay: merged.exponential_decay_length_penalty,
            suppress_tokens,
            begin_suppress_tokens: merged.begin_suppress_tokens.clone().unwrap_or_default(),
            renormalize_logits: merged.renormalize_logits.unwrap_or(false),
        })
    }
}

fn check_decay(
    decay: ExponentialDecay,
    tokens: &SpecialTokens,
    lengths: &Lengths,
) -> Result<(), ParameterError> {
    let wrong = |reason: String| ParameterError::Contradiction {
        name: "exponential_decay_length_penalty",
        value: format!("[{}, {}]", decay.start, decay.factor),
        reason,
    };
    if tokens.eos.is_empty() {
        return Err(wrong(
            "the model has no `eos_token_id` to favour".to_owned(),
        ));
    }
    let power = i32::try_from(lengths.max_length).unwrap_or(i32::MAX);
    if !(decay.factor.powi(power) as f32).is_finite() {
        return Err(wrong(format!(
            "its power overflows within {} tokens",
            lengths.max_length
        )));
    }
    Ok(())
}

#[cfg(test)]
#[allow(
    clippy::needless_pass_by_value,
    reason = "literals of json! read best where they are used"
)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: Limits = Limits {
        max_target_positions: Some(64),
        vocab_size: 100,
    };

    fn resolve(defaults: Value, parameters: Value) -> Result<GenerationConfig, ParameterError> {
        let mut model = json!({"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0});
        let map = model.as_object_mut().expect("map");
        map.extend(defaults.as_object().expect("map").clone());
        let parameters =
            GenerationParameters::from_json(parameters.as_object().expect("map")).expect("valid");
        GenerationConfig::resolve(map, &parameters, LIMITS)
    }

    fn message(parameters: Value) -> String {
        resolve(json!({}), parameters)
            .expect_err("an error")
            .to_string()
    }

    #[test]
    fn lengths_resolve_as_transformers_resolves_them() {
        let max = |defaults, parameters| {
            resolve(defaults, parameters)
                .expect("consistent")
                .lengths
                .max_length
        };
        assert_eq!(
            max(json!({}), json!({})),
            21,
            "20 new tokens beside the start"
        );
        assert_eq!(max(json!({"max_length": 30}), json!({})), 30);
        assert_eq!(
            max(json!({"max_length": 30}), json!({"max_length": 12})),
            12
        );
        assert_eq!(
            max(json!({"max_length": 30}), json!({"max_new_tokens": 12})),
            13
        );
        assert_eq!(
            max(json!({"max_new_tokens": 5}), json!({"max_length": 30})),
            6
        );
        assert_eq!(max(json!({}), json!({"decoder_input_ids": [5, 6]})), 23);
        assert_eq!(max(json!({}), json!({"decoder_input_ids": [0, 6]})), 22);
        let min = resolve(json!({"min_length": 9}), json!({"min_new_tokens": 3})).expect("fine");
        assert_eq!((min.lengths.min_length, min.lengths.min_new_tokens), (4, 3));
    }

    #[test]
    fn the_default_length_ends_with_the_models_positions() {
        let limits = Limits {
            max_target_positions: Some(16),
            ..LIMITS
        };
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
        assert!(message(json!({"max_length": 500})).contains("at most 64"));
        assert!(message(json!({"max_new_tokens": usize::MAX})).contains("at most 63"));
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
        assert!(
            error
                .to_string()
                .starts_with("in the model's generation_config.json:")
        );
        let error = resolve(json!({"forced_bos_token_id": 100}), json!({})).expect_err("no token");
        assert!(
            error
                .to_string()
                .starts_with("in the model's generation_config.json:")
        );
        let error = GenerationConfig::resolve(&Map::new(), &Default::default(), LIMITS);
        assert!(
            error
                .expect_err("no start")
                .to_string()
                .contains("`decoder_start_token_id`")
        );
    }

    #[test]
    fn rows_follow_the_strategy() {
        let rows = |parameters| {
            resolve(json!({}), parameters)
                .expect("fine")
                .rows_per_document()
        };
        assert_eq!(rows(json!({})), 1);
        assert_eq!(rows(json!({"num_beams": 4, "num_return_sequences": 2})), 4);
        assert_eq!(
            rows(json!({"do_sample": true, "num_return_sequences": 3})),
            3
        );
    }
}
