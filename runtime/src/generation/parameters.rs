//! What a caller asks for: transformers' generation parameters, each optional.
//!
//! One table ([`parameters!`]) gives every parameter its name, type, documentation and allowed values; the
//! struct, the JSON reader, the range checks and the list of names all come from it, so none can drift.
//! Implements the names of `GenerationConfig.__init__` and the range checks of `GenerationConfig.validate` and of
//! the logits processors' constructors in transformers 5.23.0.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::error::{ParameterError, SHOWN, shown};

/// Most rows (beams, or sampled sequences) that one document may occupy: a bound on memory, far above any use.
pub const MAX_ROWS: usize = 256;

/// When beam search may end: transformers' three-valued `early_stopping`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyStopping {
    /// `true`: as soon as `num_beams` hypotheses are finished.
    True,
    /// `false`: when no running beam could beat the worst finished one at the current length.
    #[default]
    False,
    /// `"never"`: as `false`, but a positive `length_penalty` is granted the greatest length.
    Never,
}

/// A bias added to the score of the last of these tokens where the others were just generated.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceBias {
    /// Token ids, at least one.
    pub token_ids: Vec<u32>,
    /// Added to the score, finite.
    pub bias: f64,
}

/// transformers' `exponential_decay_length_penalty`: the end token gains weight from a length on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExponentialDecay {
    /// Generated tokens after which the decay starts.
    pub start: usize,
    /// Base of the exponential, finite.
    pub factor: f64,
}

/// Tokens that an output must contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constraint {
    /// These tokens in a row: transformers' `PhrasalConstraint`.
    Phrasal(Vec<u32>),
    /// One of these sequences, of which none may begin another: transformers'
    /// `DisjunctiveConstraint`.
    Disjunctive(Vec<Vec<u32>>),
}

impl Constraint {
    /// All tokens in it.
    pub(crate) fn tokens(&self) -> Vec<u32> {
        match self {
            Self::Phrasal(tokens) => tokens.clone(),
            Self::Disjunctive(words) => words.concat(),
        }
    }

    /// Whether it can be fulfilled, and every alternative of it.
    fn is_sound(&self) -> bool {
        match self {
            Self::Phrasal(tokens) => !tokens.is_empty(),
            Self::Disjunctive(words) => {
                let mut sorted: Vec<&Vec<u32>> = words.iter().collect();
                sorted.sort_unstable();
                // In this order a beginning stands right before what it begins.
                !words.is_empty()
                    && words.iter().all(|word| !word.is_empty())
                    && sorted.windows(2).all(|pair| !pair[1].starts_with(pair[0]))
            }
        }
    }
}

/// Bounds on constraints: each beam's progress is compared with all of them at every step.
const MAX_CONSTRAINTS: usize = 64;
const MAX_CONSTRAINT_TOKENS: usize = 1024;

/// A type that a parameter's JSON value can be read as; `None` where it does not fit.
trait FromJson: Sized {
    fn from_json(value: &Value) -> Option<Self>;
}

impl FromJson for usize {
    fn from_json(value: &Value) -> Option<Self> {
        value.as_u64().and_then(|value| value.try_into().ok())
    }
}

impl FromJson for u64 {
    fn from_json(value: &Value) -> Option<Self> {
        value.as_u64()
    }
}

impl FromJson for u32 {
    fn from_json(value: &Value) -> Option<Self> {
        value.as_u64().and_then(|value| value.try_into().ok())
    }
}

impl FromJson for f64 {
    fn from_json(value: &Value) -> Option<Self> {
        value.as_f64()
    }
}

impl FromJson for bool {
    fn from_json(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl FromJson for EarlyStopping {
    fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(true) => Some(Self::True),
            Value::Bool(false) => Some(Self::False),
            Value::String(word) if word == "never" => Some(Self::Never),
            _ => None,
        }
    }
}

/// One value stands for a list of one, as transformers has it for token ids and stop strings.
impl FromJson for Vec<u32> {
    fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Array(items) => items.iter().map(u32::from_json).collect(),
            other => u32::from_json(other).map(|id| vec![id]),
        }
    }
}

impl FromJson for Vec<String> {
    fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect(),
            Value::String(one) => Some(vec![one.clone()]),
            _ => None,
        }
    }
}

impl FromJson for Vec<Vec<u32>> {
    fn from_json(value: &Value) -> Option<Self> {
        value
            .as_array()?
            .iter()
            .map(|item| item.as_array()?.iter().map(u32::from_json).collect())
            .collect()
    }
}

impl FromJson for Vec<SequenceBias> {
    fn from_json(value: &Value) -> Option<Self> {
        value
            .as_array()?
            .iter()
            .map(|item| match item.as_array()?.as_slice() {
                [ids, bias] => Some(SequenceBias {
                    token_ids: ids
                        .as_array()?
                        .iter()
                        .map(u32::from_json)
                        .collect::<Option<_>>()?,
                    bias: bias.as_f64()?,
                }),
                _ => None,
            })
            .collect()
    }
}

/// A list of tokens is a phrase and a list of lists a choice, as in `force_words_ids`; or the class is
/// named, as in `{"PhrasalConstraint": [5, 6]}`.
impl FromJson for Constraint {
    fn from_json(value: &Value) -> Option<Self> {
        let (class, tokens) = match value {
            Value::Object(map) if map.len() == 1 => {
                let (class, tokens) = map.iter().next()?;
                (Some(class.as_str()), tokens)
            }
            other => (None, other),
        };
        let nested = tokens.as_array()?.first()?.is_array();
        match (class, nested) {
            (None | Some("PhrasalConstraint"), false) => Vec::from_json(tokens).map(Self::Phrasal),
            (None | Some("DisjunctiveConstraint"), true) => {
                Vec::from_json(tokens).map(Self::Disjunctive)
            }
            _ => None,
        }
    }
}

impl FromJson for Vec<Constraint> {
    fn from_json(value: &Value) -> Option<Self> {
        value
            .as_array()?
            .iter()
            .map(Constraint::from_json)
            .collect()
    }
}

impl FromJson for ExponentialDecay {
    fn from_json(value: &Value) -> Option<Self> {
        match value.as_array()?.as_slice() {
            [start, factor] => Some(Self {
                start: usize::from_json(start)?,
                factor: factor.as_f64()?,
            }),
            _ => None,
        }
    }
}

macro_rules! parameters {
    ($( $(#[$doc:meta])* $name:ident: $type:ty, $allowed:literal, $check:expr; )*) => {
        /// Generation parameters, named as transformers names them; those not set fall back to the model's defaults.
        ///
        /// ```
        /// use epitome_runtime::generation::GenerationParameters;
        ///
        /// let parameters = GenerationParameters { num_beams: Some(4), length_penalty: Some(0.6), ..Default::default() };
        /// let json = serde_json::json!({"num_beams": 4, "length_penalty": 0.6});
        /// assert_eq!(parameters, GenerationParameters::from_json(json.as_object().unwrap())?);
        /// # Ok::<(), epitome_runtime::generation::ParameterError>(())
        /// ```
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct GenerationParameters {
            $( $(#[$doc])* pub $name: Option<$type>, )*
            /// Names given as `null`: for these not even the model's default applies.
            pub cleared: BTreeSet<&'static str>,
        }

        /// Every parameter that is followed, in the order of the documentation.
        const NAMES: &[&str] = &[$( stringify!($name), )*];

        impl GenerationParameters {
            /// Sets one parameter from JSON; `Ok(false)` where the name is none of those followed.
            fn set(&mut self, name: &str, value: &Value) -> Result<bool, ParameterError> {
                match name {
                    $( stringify!($name) => {
                        if value.is_null() {
                            self.$name = None;
                            self.cleared.insert(stringify!($name));
                            return Ok(true);
                        }
                        let check: fn(&$type) -> bool = $check;
                        let parsed = <$type as FromJson>::from_json(value).filter(check);
                        if parsed.is_none() {
                            return Err(ParameterError::Invalid {
                                name: stringify!($name),
                                value: shown(value.to_string()),
                                allowed: $allowed.to_owned(),
                            });
                        }
                        self.cleared.remove(stringify!($name));
                        self.$name = parsed;
                    } )*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// Checks each value by itself, for parameters that were set in code and not read from JSON.
            ///
            /// # Errors
            /// [`ParameterError::Invalid`] for the first value that its parameter does not allow.
            pub fn validate(&self) -> Result<(), ParameterError> {
                $( if let Some(value) = &self.$name {
                    let check: fn(&$type) -> bool = $check;
                    if !check(value) {
                        return Err(ParameterError::Invalid {
                            name: stringify!($name),
                            value: shown(format!("{value:?}")),
                            allowed: $allowed.to_owned(),
                        });
                    }
                } )*
                Ok(())
            }

            /// These parameters, completed by `defaults` where they are silent.
            #[must_use]
            pub fn overlaid_on(&self, defaults: &Self) -> Self {
                let mut cleared = self.cleared.clone();
                $( if self.$name.is_none() && defaults.cleared.contains(stringify!($name)) {
                    cleared.insert(stringify!($name));
                } )*
                Self {
                    $( $name: match &self.$name {
                        None if self.cleared.contains(stringify!($name)) => None,
                        None => defaults.$name.clone(),
                        own => own.clone(),
                    }, )*
                    cleared,
                }
            }
        }
    };
}

fn finite(value: &f64) -> bool {
    value.is_finite()
}

fn positive(value: &f64) -> bool {
    value.is_finite() && *value > 0.0
}

fn unit(value: &f64) -> bool {
    (0.0..=1.0).contains(value)
}

fn sound(constraints: &[Constraint]) -> bool {
    let tokens: usize = constraints.iter().map(|one| one.tokens().len()).sum();
    (1..=MAX_CONSTRAINTS).contains(&constraints.len())
        && tokens <= MAX_CONSTRAINT_TOKENS
        && constraints.iter().all(Constraint::is_sound)
}

fn any<T>(_: &T) -> bool {
    true
}

parameters! {
    /// Beams of beam search; 1 is greedy search, or plain sampling with `do_sample`. Default 1.
    num_beams: usize, "a whole number from 1 to 256", |value| (1..=MAX_ROWS).contains(value);
    /// Sequences returned for each document, best first. Default 1.
    num_return_sequences: usize, "a whole number from 1 to 256", |value| (1..=MAX_ROWS).contains(value);
    /// Exponent of the length by which a finished hypothesis' score is divided: above 0 favours longer output, below 0 shorter. Default 1.0.
    length_penalty: f64, "a finite number", finite;
    /// When beam search may end. Default `false`.
    early_stopping: EarlyStopping, "true, false or \"never\"", any;
    /// Groups into which the beams are divided, each kept from choosing what those before it chose;
    /// needs `diversity_penalty`. Default 1.
    num_beam_groups: usize, "a whole number from 1 to 256", |value| (1..=MAX_ROWS).contains(value);
    /// What a token loses for each beam of the groups before that chose it at the same step.
    /// Default 0.0, off.
    diversity_penalty: f64, "a finite number, 0 or more", |value| value.is_finite() && *value >= 0.0;
    /// Tokens that the output must contain: each element a list of tokens in a row, or a list of such
    /// lists of which one is enough.
    force_words_ids: Vec<Constraint>, "a list of at most 64 phrases (lists of token ids) or choices \
        (lists of phrases of which none begins another), with at most 1024 tokens", |list| sound(list);
    /// The same with transformers' names, as
    /// `[{"PhrasalConstraint": [ids]}, {"DisjunctiveConstraint": [[ids], [ids]]}]`; both may be given.
    constraints: Vec<Constraint>, "a list of at most 64 `{\"PhrasalConstraint\": [token ids]}` or \
        `{\"DisjunctiveConstraint\": [[token ids], …]}` (of which none begins another), with at most \
        1024 tokens", |list| sound(list);
    /// Longest sequence in tokens, the decoder start included. Default: 20 new tokens.
    max_length: usize, "a whole number above 1", |value| *value > 1;
    /// Most tokens generated; takes precedence over `max_length`.
    max_new_tokens: usize, "a whole number above 0", |value| *value > 0;
    /// Shortest sequence in tokens, the decoder start included: the end token is forbidden before. Default 0.
    min_length: usize, "a whole number, 0 or more", any;
    /// Fewest tokens generated before the end token is allowed; takes precedence over `min_length`.
    min_new_tokens: usize, "a whole number, 0 or more", any;
    /// Seconds after which generation ends with what it has. Default: no limit.
    max_time: f64, "a finite number of seconds, 0 or more", |value| value.is_finite() && *value >= 0.0;
    /// Texts that end a sequence once generated.
    stop_strings: Vec<String>, "a text or a list of texts, none of them empty", |values| {
        !values.is_empty() && values.iter().all(|value| !value.is_empty())
    };
    /// No sequence of this many tokens occurs twice; 0 is off. Default 0.
    no_repeat_ngram_size: usize, "a whole number, 0 or more", any;
    /// No sequence of this many tokens of the source occurs in the output; 0 is off. Default 0.
    encoder_no_repeat_ngram_size: usize, "a whole number, 0 or more", any;
    /// Divides the probability weight of tokens already generated; 1.0 is off. Default 1.0.
    repetition_penalty: f64, "a finite number above 0", positive;
    /// Favours tokens of the source when above 1.0; 1.0 is off. Default 1.0.
    encoder_repetition_penalty: f64, "a finite number above 0", positive;
    /// Token sequences that are never generated.
    bad_words_ids: Vec<Vec<u32>>, "a non-empty list of non-empty lists of token ids", |lists| {
        !lists.is_empty() && lists.iter().all(|ids| !ids.is_empty())
    };
    /// Biases on token sequences, as `[[[ids], bias], …]`.
    sequence_bias: Vec<SequenceBias>, "a non-empty list of pairs [[token ids], finite number]", |biases| {
        !biases.is_empty()
            && biases.iter().all(|one| !one.token_ids.is_empty() && one.bias.is_finite())
    };
    /// Token that must come first after the decoder start.
    forced_bos_token_id: u32, "a token id", any;
    /// Token, or tokens, allowed alone at `max_length`.
    forced_eos_token_id: Vec<u32>, "a token id or a list of token ids", |ids| !ids.is_empty();
    /// Tokens that are never generated.
    suppress_tokens: Vec<u32>, "a list of token ids", any;
    /// Tokens that are not generated first.
    begin_suppress_tokens: Vec<u32>, "a list of token ids", any;
    /// `[start, factor]`: from `start` generated tokens on, the end token's score grows as `factor` to the power of the tokens since.
    exponential_decay_length_penalty: ExponentialDecay, "a pair [whole number, finite number]", |decay| {
        decay.factor.is_finite()
    };
    /// Replaces NaN and infinite scores by finite ones. Default false.
    remove_invalid_values: bool, "true or false", any;
    /// Normalizes the scores once more after all processors. Default false.
    renormalize_logits: bool, "true or false", any;
    /// Draws tokens at random instead of taking the best. Default false.
    do_sample: bool, "true or false", any;
    /// Seed of the draws (epitome's own): the same seed and document give the same output. Default 0.
    seed: u64, "a whole number, 0 or more", any;
    /// Divides the logits before sampling. Default 1.0.
    temperature: f64, "a finite number above 0", positive;
    /// Keeps this many likeliest tokens when sampling; 0 is off. Default 50.
    top_k: usize, "a whole number, 0 or more", any;
    /// Keeps the likeliest tokens that together reach this probability. Default 1.0, off.
    top_p: f64, "a number from 0 to 1", unit;
    /// Drops tokens less likely than this share of the likeliest. Default: off.
    min_p: f64, "a number from 0 to 1", unit;
    /// Keeps the likeliest tokens up to this share of the entropy. Default: off.
    top_h: f64, "a number above 0, at most 1", |value| *value > 0.0 && *value <= 1.0;
    /// Keeps the tokens whose information is nearest the expected one. Default 1.0, off.
    typical_p: f64, "a number above 0, at most 1", |value| *value > 0.0 && *value <= 1.0;
    /// Drops tokens less likely than this. Default 0.0, off.
    epsilon_cutoff: f64, "a number from 0 to 1", unit;
    /// Drops tokens less likely than a bound that falls with the entropy. Default 0.0, off.
    eta_cutoff: f64, "a number from 0 to 1", unit;
    /// Token ids with which every output starts; the decoder start is put before them where it is missing.
    decoder_input_ids: Vec<u32>, "a non-empty list of token ids", |ids| !ids.is_empty();
    /// Token that starts the decoder.
    decoder_start_token_id: u32, "a token id", any;
    /// Starts the decoder where `decoder_start_token_id` is not given.
    bos_token_id: u32, "a token id", any;
    /// Token, or tokens, that end a sequence.
    eos_token_id: Vec<u32>, "a token id or a list of token ids", |ids| !ids.is_empty();
    /// Token that fills finished rows; it never appears in the output.
    pad_token_id: u32, "a token id", any;
    /// Prompt lookup: most tokens that are drafted from the source, to be verified in one decoder step.
    prompt_lookup_num_tokens: usize, "an integer from 1 to 256", |value| (1..=256).contains(value);
    /// Most of the newest tokens that prompt lookup finds in the source to draft from there.
    max_matching_ngram_size: usize, "an integer above 0", |value| *value > 0;
    /// Also returns a score for each token. Default false.
    output_scores: bool, "true or false", any;
}

/// Parameters of transformers that change how it computes and never what: accepted with any value.
const HARMLESS: &[&str] = &[
    "assistant_confidence_threshold",
    "assistant_lookbehind",
    "cache_config",
    "cache_implementation",
    "compile_config",
    "continuous_batching_config",
    "disable_compile",
    "max_cache_len",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "prefill_chunk_size",
    "return_dict_in_generate",
    "synced_gpus",
    "target_lookbehind",
    "transformers_version",
    "use_cache",
];

/// Parameters of transformers that change the output and are not implemented: refused unless they are off.
const NOT_SUPPORTED: &[&str] = &[
    "assistant_early_exit",
    "assistant_ensemble_weight",
    "assistant_model",
    "dola_layers",
    "guidance_scale",
    "is_assistant",
    "low_memory",
    "penalty_alpha",
    "prefix_allowed_tokens_fn",
    "speculation_type",
    "token_healing",
    "use_mtp",
    "watermarking_config",
];

/// Whether a parameter that is not implemented is switched off by this value.
fn is_off(name: &str, value: &Value) -> bool {
    match name {
        _ if value.is_null() || *value == Value::Bool(false) => true,
        "guidance_scale" => value.as_f64() == Some(1.0),
        "penalty_alpha" => value.as_f64() == Some(0.0),
        _ => false,
    }
}

/// What to do with a name that is no generation parameter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// A caller's slip of the pen.
    Refuse,
    /// A model's generation_config.json may carry entries of its own.
    PassOver,
}

impl GenerationParameters {
    /// Reads a JSON object of parameters, named as transformers names them.
    ///
    /// Parameters that only concern how transformers computes (`use_cache` and the like) are accepted and have no
    /// effect; `null` clears a parameter, so that the model's default does not apply either.
    ///
    /// # Errors
    /// [`ParameterError::Unknown`] for a name that is none, [`ParameterError::NotSupported`] for one that is not
    /// implemented, [`ParameterError::Invalid`] for a value that has the wrong type or is not allowed.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, ParameterError> {
        Self::read(map, Unknown::Refuse)
    }

    /// Reads a model's generation_config.json: as [`Self::from_json`], but entries that are no parameters pass.
    ///
    /// # Errors
    /// [`ParameterError::ModelDefaults`] around what [`Self::from_json`] would say.
    pub fn from_model_defaults(map: &Map<String, Value>) -> Result<Self, ParameterError> {
        let mut defaults = Self::read(map, Unknown::PassOver)
            .map_err(|error| ParameterError::ModelDefaults(Box::new(error)))?;
        // In the file null is simply "not set".
        defaults.cleared.clear();
        Ok(defaults)
    }

    fn read(map: &Map<String, Value>, unknown: Unknown) -> Result<Self, ParameterError> {
        let mut parameters = Self::default();
        for (name, value) in map {
            if parameters.set(name, value)? || HARMLESS.contains(&name.as_str()) {
                continue;
            }
            if let Some(name) = NOT_SUPPORTED.iter().find(|known| *known == name) {
                if is_off(name, value) {
                    continue;
                }
                return Err(ParameterError::NotSupported {
                    name,
                    value: shown(value.to_string()),
                });
            }
            if unknown == Unknown::Refuse {
                return Err(ParameterError::Unknown {
                    name: shown(name.clone()),
                    nearest: nearest(name),
                });
            }
        }
        Ok(parameters)
    }

    /// The names of all parameters that are followed.
    #[must_use]
    pub fn names() -> &'static [&'static str] {
        NAMES
    }

    /// The names of transformers' parameters that are refused, unless they are off.
    #[must_use]
    pub fn refused_names() -> &'static [&'static str] {
        NOT_SUPPORTED
    }

    /// The names that are accepted and have no effect here.
    #[must_use]
    pub fn harmless_names() -> &'static [&'static str] {
        HARMLESS
    }
}

/// The known name most like `name`, where one is like it at all.
fn nearest(name: &str) -> Option<&'static str> {
    /// Below this similarity a suggestion confuses more than it helps.
    const ALIKE: f64 = 0.8;
    let name = name.to_ascii_lowercase().replace('-', "_");
    let name: String = name.chars().take(SHOWN).collect();
    NAMES
        .iter()
        .map(|known| (strsim::jaro_winkler(&name, known), *known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
#[allow(
    clippy::needless_pass_by_value,
    reason = "literals of json! read best where they are used"
)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<GenerationParameters, ParameterError> {
        GenerationParameters::from_json(value.as_object().expect("an object"))
    }

    fn message(value: Value) -> String {
        read(value).expect_err("an error").to_string()
    }

    #[test]
    fn values_of_every_type_are_read() {
        let read = read(json!({
            "num_beams": 4, "length_penalty": -1, "early_stopping": "never", "eos_token_id": 1,
            "forced_eos_token_id": [1, 2], "bad_words_ids": [[3], [4, 5]], "sequence_bias": [[[6, 7], 2]],
            "exponential_decay_length_penalty": [5, 1.1], "stop_strings": "end", "use_cache": true,
            "num_beam_groups": 1, "do_sample": true,
        }))
        .expect("all are valid");
        assert_eq!(read.num_beams, Some(4));
        assert_eq!(read.length_penalty, Some(-1.0));
        assert_eq!(read.early_stopping, Some(EarlyStopping::Never));
        assert_eq!(read.eos_token_id, Some(vec![1]));
        assert_eq!(read.forced_eos_token_id, Some(vec![1, 2]));
        assert_eq!(
            read.sequence_bias,
            Some(vec![SequenceBias {
                token_ids: vec![6, 7],
                bias: 2.0
            }])
        );
        assert_eq!(read.stop_strings, Some(vec!["end".to_owned()]));
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest_known() {
        assert_eq!(
            message(json!({"num_beam": 4})),
            "unknown generation parameter `num_beam`; did you mean `num_beams`?"
        );
        assert_eq!(
            message(json!({"Length-Penalty": 4})),
            "unknown generation parameter `Length-Penalty`; did you mean `length_penalty`?"
        );
        assert!(!message(json!({"xyzzy": 4})).contains("did you mean"));
    }

    #[test]
    fn values_that_are_not_allowed_are_named() {
        assert_eq!(
            message(json!({"num_beams": 0})),
            "generation parameter `num_beams` is 0, but it must be a whole number from 1 to 256"
        );
        for bad in [
            json!({"num_beams": 2.5}),
            json!({"num_beams": true}),
            json!({"num_beams": -1}),
            json!({"num_beams": 1e300}),
            json!({"num_beams": "4"}),
            json!({"length_penalty": "long"}),
            json!({"early_stopping": "sometimes"}),
            json!({"eos_token_id": []}),
            json!({"eos_token_id": -1}),
            json!({"bad_words_ids": [[]]}),
            json!({"sequence_bias": [[[1], "x"]]}),
            json!({"sequence_bias": {"1": 2.0}}),
            json!({"top_p": 1.5}),
            json!({"temperature": 0}),
            json!({"max_new_tokens": 0}),
            json!({"max_length": 1}),
            json!({"stop_strings": [""]}),
            json!({"exponential_decay_length_penalty": [1]}),
        ] {
            assert!(
                matches!(read(bad.clone()), Err(ParameterError::Invalid { .. })),
                "{bad}"
            );
        }
        let long = message(json!({"num_beams": "x".repeat(1000)}));
        assert!(long.len() < 250, "{long}");
    }

    #[test]
    fn constraints_are_read_in_both_forms() {
        let both = read(json!({
            "force_words_ids": [[5, 6], [[7], [8, 9]]],
            "constraints": [{"PhrasalConstraint": [5]}, {"DisjunctiveConstraint": [[8, 7], [8, 9]]}],
        }))
        .expect("valid");
        let choice =
            |words: [&[u32]; 2]| Constraint::Disjunctive(words.map(<[u32]>::to_vec).into());
        let forced = vec![Constraint::Phrasal(vec![5, 6]), choice([&[7], &[8, 9]])];
        assert_eq!(both.force_words_ids, Some(forced));
        let constraints = vec![Constraint::Phrasal(vec![5]), choice([&[8, 7], &[8, 9]])];
        assert_eq!(both.constraints, Some(constraints));
        for bad in [
            json!([]),
            json!([5]),
            json!([[]]),
            json!([[[]]]),
            json!([[5, [6]]]),
            json!([[[8], [8, 9]]]),
            json!([[[8, 9], [8, 9]]]),
            json!([{"PhrasalConstraint": [[5]]}]),
            json!([{"DisjunctiveConstraint": [5]}]),
            json!([{"Constraint": [5]}]),
            json!([{"PhrasalConstraint": [5], "DisjunctiveConstraint": [[5]]}]),
            json!([vec![5; 1025]]),
            json!(vec![[5]; 65]),
        ] {
            let names = ["force_words_ids", "constraints"];
            assert!(
                names
                    .iter()
                    .all(|name| read(json!({*name: bad.clone()})).is_err()),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_name() {
        assert_eq!(
            message(json!({"penalty_alpha": 0.6})),
            "generation parameter `penalty_alpha` is not supported (it was set to 0.6)"
        );
        assert!(read(json!({"penalty_alpha": null, "low_memory": false})).is_ok());
    }

    #[test]
    fn values_set_in_code_are_checked_too() {
        let nan = GenerationParameters {
            length_penalty: Some(f64::NAN),
            ..Default::default()
        };
        assert_eq!(
            nan.validate().expect_err("NaN").to_string(),
            "generation parameter `length_penalty` is NaN, but it must be a finite number"
        );
    }

    #[test]
    fn parameters_lie_over_defaults_and_null_clears_them() {
        let defaults =
            json!({"num_beams": 8, "max_length": 64, "forced_eos_token_id": 1, "custom": {}});
        let defaults =
            GenerationParameters::from_model_defaults(defaults.as_object().expect("map"))
                .expect("entries of the model's own pass");
        let own = read(json!({"num_beams": 2, "forced_eos_token_id": null})).expect("valid");
        let merged = own.overlaid_on(&defaults);
        assert_eq!(merged.num_beams, Some(2));
        assert_eq!(merged.max_length, Some(64));
        assert_eq!(merged.forced_eos_token_id, None);
    }
}
