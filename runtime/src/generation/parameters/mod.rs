//! transformers' generation parameters, each optional.
//!
//! One table ([`parameters!`]) gives the documentation, scope, name, type and allowed values of
//! each parameter. [`with_processors!`] adds the lines of the logits processors' parameters. The
//! struct, the JSON reader, the range checks and the list of names are generated from the table.
//!
//! Implements the names of `GenerationConfig.__init__` and the range checks of
//! `GenerationConfig.validate` and of the logits processors' constructors in transformers 5.24.0.

mod names;
mod scope;
mod values;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

pub(crate) use scope::{Mode, Scope};
pub use values::{Constraint, EarlyStopping, ExponentialDecay, GlobalAttentionMask, SequenceBias};

use super::error::{ParameterError, shown};
use super::processors::table::with_processors;
use names::{HARMLESS, NOT_SUPPORTED, REFUSED, is_off, nearest};
use values::FromJson;

/// Maximum number of rows (beams, or sampled sequences) of one document. It bounds memory, and is
/// far above any use.
pub const MAX_ROWS: usize = 256;
/// transformers' default of `top_k`.
pub(super) const DEFAULT_TOP_K: i64 = 50;
/// Maximum number of end tokens. Beam search ranks a candidate more for each of them and each beam.
const MAX_ENDS: usize = 256;
/// Maximum number of token ids in one list.
const MAX_IDS: usize = 65_536;
/// Maximum number of token sequences in one list. Each is compared with the history at every step.
const MAX_SEQUENCES: usize = 16_384;
/// Maximum number of constraints. Each beam is compared with all of them at every step.
const MAX_CONSTRAINTS: usize = 64;
/// Maximum number of tokens in all constraints.
const MAX_CONSTRAINT_TOKENS: usize = 1024;
/// Maximum number of stop strings.
const MAX_STOP_STRINGS: usize = 64;
/// Maximum number of bytes in a stop string.
const MAX_STOP_STRING: usize = 1024;

macro_rules! parameters {
    ($(
        $(#[doc = $doc:literal])*
        $scope:ident $name:ident: $type:ty, $allowed:expr, $check:expr;
    )*) => {
        /// Generation parameters, under transformers' names. The model's defaults apply to those
        /// that are not set.
        ///
        /// ```
        /// use epitome_runtime::generation::GenerationParameters;
        ///
        /// let parameters = GenerationParameters {
        ///     num_beams: Some(4),
        ///     length_penalty: Some(0.6),
        ///     ..Default::default()
        /// };
        /// let json = serde_json::json!({"num_beams": 4, "length_penalty": 0.6});
        /// assert_eq!(parameters, GenerationParameters::from_json(json.as_object().unwrap())?);
        /// # Ok::<(), epitome_runtime::generation::ParameterError>(())
        /// ```
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct GenerationParameters {
            $( $(#[doc = $doc])* pub $name: Option<$type>, )*
            /// Names of parameters given as `null`: the model's default does not apply to them.
            pub cleared: BTreeSet<&'static str>,
        }

        /// Names of all supported parameters, in the order of the documentation.
        const NAMES: &[&str] = &[$( stringify!($name), )*];

        impl GenerationParameters {
            /// Sets one parameter from JSON. Returns `Ok(false)` if the name is not supported. A
            /// parameter that only some searches use is checked once the search is known.
            fn set(&mut self, name: &str, value: &Value) -> Result<bool, Fault> {
                let off = Value::Bool(false);
                let value = if is_not_true(name, value) { &off } else { value };
                match name {
                    $( stringify!($name) => {
                        if value.is_null() {
                            self.$name = None;
                            self.cleared.insert(stringify!($name));
                            return Ok(true);
                        }
                        let check: fn(&$type) -> bool = $check;
                        let is_checked = Scope::$scope == Scope::Always;
                        let is_allowed = |value: &$type| !is_checked || check(value);
                        let parsed = <$type as FromJson>::from_json(value).filter(is_allowed);
                        if parsed.is_none() {
                            return Err(Fault {
                                name: stringify!($name),
                                scope: Scope::$scope,
                                error: ParameterError::Invalid {
                                    name: stringify!($name),
                                    value: value_shown(stringify!($name), value),
                                    allowed: $allowed.to_owned(),
                                },
                            });
                        }
                        self.cleared.remove(stringify!($name));
                        self.$name = parsed;
                    } )*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// The JSON schema of all parameters, with their documentation.
            pub fn schema() -> Value {
                let mut properties = Map::new();
                $( properties.insert(
                    stringify!($name).into(),
                    property(
                        described(concat!($($doc),*), &$allowed),
                        <$type as FromJson>::schema(),
                    ),
                ); )*
                let harmless = serde_json::json!({
                    "description": "Changes how transformers computes, and nothing here.",
                });
                properties.extend(HARMLESS.iter().map(|name| ((*name).into(), harmless.clone())));
                serde_json::json!({
                    "type": "object", "properties": properties, "additionalProperties": false,
                })
            }

            /// Checks each value that a search in this mode uses.
            ///
            /// # Errors
            /// [`ParameterError::Invalid`] for the first value that its parameter does not allow.
            pub(super) fn check(&self, mode: Mode) -> Result<(), ParameterError> {
                $( if let Some(value) = &self.$name && mode.uses(Scope::$scope) {
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

            /// Whether this parameter has a value.
            pub(super) fn sets(&self, name: &str) -> bool {
                match name {
                    $( stringify!($name) => self.$name.is_some(), )*
                    _ => false,
                }
            }

            /// Merges these parameters with `defaults`, which apply to parameters that are not set.
            #[must_use]
            pub fn overlaid_on(&self, defaults: &Self) -> Self {
                let mut cleared = self.cleared.clone();
                cleared.extend(defaults.cleared.iter().filter(|name| !self.sets(name)));
                let is_cleared = |name: &str| self.cleared.contains(name);
                Self {
                    $( $name: match &self.$name {
                        None if is_cleared(stringify!($name)) => None,
                        None => defaults.$name.clone(),
                        own => own.clone(),
                    }, )*
                    cleared,
                }
            }
        }
    };
}

with_processors! { parameters! {
    /// Beams of beam search; 1 is greedy search, or plain sampling with `do_sample`. Default 1.
    Always num_beams: usize, "a whole number from 1 to 256", |value| (1..=MAX_ROWS).contains(value);
    /// Sequences returned for each document, best first. Default 1.
    Always num_return_sequences: usize, "a whole number from 1 to 256",
        |value| (1..=MAX_ROWS).contains(value);
    /// Exponent of the length by which a finished hypothesis' score is divided: above 0 favours
    /// longer output, below 0 shorter. Default 1.0.
    Beams length_penalty: f64, "a finite number", |value| value.is_finite();
    /// When beam search may end. Default `false`.
    Beams early_stopping: EarlyStopping, "true, false or \"never\"", any;
    /// Number of groups of beams. Each group avoids tokens that earlier groups chose; needs
    /// `diversity_penalty`. Default 1.
    Always num_beam_groups: usize, "a whole number from 1 to 256",
        |value| (1..=MAX_ROWS).contains(value);
    /// Tokens that the output must contain. Each element is a list of tokens in a row, or a list of
    /// such lists, of which one must occur.
    Always force_words_ids: Vec<Constraint>, "a list of at most 64 phrases (lists of token ids) or \
        choices (lists of phrases of which none begins another), with at most 1024 tokens",
        |list| sound(list);
    /// Constraints under transformers' names, as `[{"PhrasalConstraint": [ids]},
    /// {"DisjunctiveConstraint": [[ids], [ids]]}]`; may be given together with `force_words_ids`.
    Always constraints: Vec<Constraint>,
        "a list of at most 64 `{\"PhrasalConstraint\": [token ids]}` \
        or `{\"DisjunctiveConstraint\": [[token ids], …]}` (of which none begins another), with at \
        most 1024 tokens", |list| sound(list);
    /// Maximum length of a sequence in tokens, including the decoder start. Default: 20 new tokens.
    Always max_length: i64, "a whole number", any;
    /// Maximum number of generated tokens; takes precedence over `max_length`.
    Always max_new_tokens: usize, "a whole number above 0", |value| *value > 0;
    /// Maximum seconds of generation. The sequences are then cut. Default: no limit.
    Always max_time: f64, "a finite number of seconds", |value| value.is_finite();
    /// Texts that end a sequence once generated.
    Always stop_strings: Vec<String>,
        "a text or a list of at most 64 texts, each of 1 to 1024 bytes",
        |texts| (1..=MAX_STOP_STRINGS).contains(&texts.len())
            && texts.iter().all(|text| (1..=MAX_STOP_STRING).contains(&text.len()));
    /// Draws tokens at random instead of taking the best. Default false.
    Always do_sample: bool, "true or false", any;
    /// Seed of sampling (a parameter of epitome): the same seed and document give the same output.
    /// Default 0.
    Sampling seed: u64, "a whole number, 0 or more", any;
    /// Token ids with which every output starts. The decoder start is put before them if it is
    /// missing.
    Always decoder_input_ids: Vec<u32>, "a list of 1 to 65536 token ids",
        |ids| (1..=MAX_IDS).contains(&ids.len());
    /// Token that starts the decoder.
    Always decoder_start_token_id: u32, "a token id", any;
    /// Token that starts the decoder if `decoder_start_token_id` is not given.
    Always bos_token_id: i64, "a token id", any;
    /// Token or tokens that end a sequence. Tokens outside the vocabulary have no effect.
    Always eos_token_id: Vec<i64>, "a token id or a list of at most 256 token ids",
        |ids| ids.len() <= MAX_ENDS;
    /// Token that fills finished rows; it never appears in the output.
    Always pad_token_id: i64, "a token id", any;
    /// Prompt lookup: maximum number of tokens that are drafted from the source and verified in one
    /// decoder step.
    Single prompt_lookup_num_tokens: usize, "an integer from 1 to 256",
        |value| (1..=256).contains(value);
    /// Maximum number of newest tokens that prompt lookup searches in the source.
    Single max_matching_ngram_size: usize, "an integer above 0", |value| *value > 0;
    /// Source tokens with global attention: they attend to all tokens, and all tokens attend to
    /// them. Only models of LED support it.
    Always global_attention_mask: GlobalAttentionMask, GlobalAttentionMask::ALLOWED,
        |mask| mask.len() <= MAX_IDS;
    /// Also returns a score for each token. Default false.
    Always output_scores: bool, "true or false", any;
} }

/// The documentation of a parameter, with its allowed values.
fn described(documentation: &str, allowed: &str) -> String {
    format!("{} May be {allowed}.", documentation.trim())
}

/// The JSON schema of a parameter.
fn property(description: String, value: Value) -> Value {
    serde_json::json!({"description": description, "anyOf": [value, {"type": "null"}]})
}

fn any<T>(_: &T) -> bool {
    true
}

fn positive(value: &f64) -> bool {
    value.is_finite() && *value > 0.0
}

fn sound(constraints: &[Constraint]) -> bool {
    let tokens: usize = constraints.iter().map(|one| one.tokens().len()).sum();
    (1..=MAX_CONSTRAINTS).contains(&constraints.len())
        && tokens <= MAX_CONSTRAINT_TOKENS
        && constraints.iter().all(Constraint::is_sound)
}

/// Whether a list of token sequences has an allowed length and no empty sequence.
fn sequences<'a>(sequences: impl Iterator<Item = &'a Vec<u32>> + Clone) -> bool {
    (1..=MAX_SEQUENCES).contains(&sequences.clone().count())
        && sequences.clone().all(|ids| !ids.is_empty())
        && sequences.map(Vec::len).sum::<usize>() <= MAX_IDS
}

/// Whether transformers ignores a number for this parameter: it checks these parameters for the
/// constant `True` (`_get_logits_processor` in `generation/utils.py`).
fn is_not_true(name: &str, value: &Value) -> bool {
    let constant = ["remove_invalid_values", "renormalize_logits"].contains(&name);
    constant && value.is_number() && bool::from_json(value).is_some()
}

/// Shortens a value for a message. Messages may be logged, so texts of users are left out.
fn value_shown(name: &str, value: &Value) -> String {
    match (name, value) {
        ("stop_strings", Value::String(text)) => format!("a text of {} bytes", text.len()),
        ("stop_strings", Value::Array(items)) => format!("a list of {} items", items.len()),
        ("stop_strings", Value::Object(_)) => "an object".to_owned(),
        _ => shown(value.to_string()),
    }
}

/// An error of a parameter, and the searches that it concerns.
struct Fault {
    name: &'static str,
    scope: Scope,
    error: ParameterError,
}

/// The defaults in a model's generation_config.json. Errors count only in parameters that the
/// search uses.
pub(super) struct ModelDefaults {
    parameters: GenerationParameters,
    faults: Vec<Fault>,
}

impl ModelDefaults {
    /// Reads generation_config.json. Entries that are no parameters are ignored.
    pub(super) fn read(map: &Map<String, Value>) -> Self {
        let mut parameters = GenerationParameters::default();
        let mut faults = Vec::new();
        for (name, value) in map {
            match parameters.set(name, value).and_then(|_| refuse(name, value)) {
                Ok(()) => {}
                Err(fault) => faults.push(fault),
            }
        }
        // In the file, null means that a parameter is not set.
        parameters.cleared.clear();
        Self { parameters, faults }
    }

    /// Merges `parameters` with these defaults.
    ///
    /// # Errors
    /// [`ParameterError::ModelDefaults`] if the search uses a default that is not valid.
    pub(super) fn under(
        self,
        parameters: &GenerationParameters,
    ) -> Result<GenerationParameters, ParameterError> {
        let merged = parameters.overlaid_on(&self.parameters);
        let mode = merged.mode();
        let is_used = |fault: &Fault| {
            let is_silent =
                !parameters.sets(fault.name) && !parameters.cleared.contains(fault.name);
            mode.uses(fault.scope) && is_silent
        };
        match self.faults.into_iter().find(is_used) {
            None => Ok(merged),
            Some(fault) => Err(ParameterError::ModelDefaults(Box::new(fault.error))),
        }
    }
}

/// Refuses a parameter that is not implemented, unless it is off.
fn refuse(name: &str, value: &Value) -> Result<(), Fault> {
    match NOT_SUPPORTED.iter().find(|(known, _)| *known == name) {
        Some((name, scope)) if !is_off(name, value) => Err(Fault {
            name,
            scope: *scope,
            error: ParameterError::NotSupported { name, value: shown(value.to_string()) },
        }),
        _ => Ok(()),
    }
}

impl GenerationParameters {
    /// Reads a JSON object of parameters, under transformers' names.
    ///
    /// Parameters that only change how transformers computes, such as `use_cache`, are accepted and
    /// have no effect. `null` clears a parameter, so that the model's default does not apply
    /// either.
    ///
    /// # Errors
    /// [`ParameterError::Unknown`] for an unknown name, [`ParameterError::NotSupported`] for a
    /// parameter that is not implemented, [`ParameterError::Invalid`] for a value that has the
    /// wrong type or that no search allows. Parameters that only some searches use are checked once
    /// the search is known.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, ParameterError> {
        let mut parameters = Self::default();
        for (name, value) in map {
            refuse(name, value).map_err(|fault| fault.error)?;
            let is_known = parameters.set(name, value).map_err(|fault| fault.error)?
                || HARMLESS.contains(&name.as_str())
                || REFUSED.contains(&name.as_str());
            if !is_known {
                return Err(ParameterError::Unknown {
                    name: shown(name.clone()),
                    nearest: nearest(name, NAMES),
                });
            }
        }
        Ok(parameters)
    }

    /// The mode of the search that these parameters select.
    pub(super) fn mode(&self) -> Mode {
        Mode {
            num_beams: self.num_beams.unwrap_or(1),
            do_sample: self.do_sample.unwrap_or(false),
            top_k: self.top_k.unwrap_or(DEFAULT_TOP_K),
        }
    }

    /// Names of all supported parameters.
    #[must_use]
    pub fn names() -> &'static [&'static str] {
        NAMES
    }

    /// Names of transformers' parameters that are refused unless they are off.
    #[must_use]
    pub fn refused_names() -> &'static [&'static str] {
        REFUSED
    }

    /// Names of parameters that are accepted and have no effect.
    #[must_use]
    pub fn harmless_names() -> &'static [&'static str] {
        HARMLESS
    }
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "literals of json! read best where they are used")]
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
            "forced_eos_token_id": [1, 2], "bad_words_ids": [[3], [4, 5]],
            "sequence_bias": [[[6, 7], 2]],
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
            Some(vec![SequenceBias { token_ids: vec![6, 7], bias: 2.0 }])
        );
        assert_eq!(read.stop_strings, Some(vec!["end".to_owned()]));
    }

    #[test]
    fn the_schema_describes_every_parameter() {
        let schema = GenerationParameters::schema();
        let properties = schema["properties"].as_object().expect("an object");
        for name in NAMES.iter().chain(HARMLESS) {
            let words = properties[*name]["description"].as_str().expect("words");
            assert!(!words.contains("  ") && words.ends_with('.'), "{name}: {words}");
        }
        assert_eq!(properties["num_beams"]["anyOf"][0]["type"], "integer");
        let words = properties["length_penalty"]["description"].as_str().expect("words");
        assert!(words.contains("favours longer output, below 0 shorter."), "{words}");
        assert!(words.ends_with("May be a finite number."), "{words}");
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
            json!({"num_beams": -1}),
            json!({"num_beams": 1e300}),
            json!({"num_beams": "4"}),
            json!({"length_penalty": "long"}),
            json!({"early_stopping": "sometimes"}),
            json!({"eos_token_id": "end"}),
            json!({"forced_bos_token_id": -1}),
            json!({"do_sample": 2}),
            json!({"bad_words_ids": [[]]}),
            json!({"sequence_bias": [[[1], "x"]]}),
            json!({"sequence_bias": {"1": 2.0}}),
            json!({"early_stopping": 7}),
            json!({"max_new_tokens": 0}),
            json!({"stop_strings": [""]}),
            json!({"exponential_decay_length_penalty": [1]}),
        ] {
            assert!(matches!(read(bad.clone()), Err(ParameterError::Invalid { .. })), "{bad}");
        }
        let long = message(json!({"num_beams": "x".repeat(1000)}));
        assert!(long.len() < 250, "{long}");
    }

    #[test]
    fn constraints_are_read_in_both_forms() {
        let both = read(json!({
            "force_words_ids": [[5, 6], [[7], [8, 9]]],
            "constraints": [
                {"PhrasalConstraint": [5]}, {"DisjunctiveConstraint": [[8, 7], [8, 9]]},
            ],
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
            assert!(names.iter().all(|name| read(json!({*name: bad.clone()})).is_err()), "{bad}");
        }
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_name() {
        assert_eq!(
            message(json!({"penalty_alpha": 0.6})),
            "generation parameter `penalty_alpha` is not supported (it was set to 0.6)"
        );
        assert!(read(json!({"penalty_alpha": null, "low_memory": true})).is_ok());
    }

    #[test]
    fn values_set_in_code_are_checked_too() {
        let nan = GenerationParameters {
            length_penalty: Some(f64::NAN),
            num_beams: Some(2),
            ..Default::default()
        };
        assert_eq!(
            nan.check(nan.mode()).expect_err("NaN").to_string(),
            "generation parameter `length_penalty` is NaN, but it must be a finite number"
        );
    }

    /// Numbers are read as in Python: `True == 1`, `16.0 == 16`, and 1 is true.
    #[test]
    fn numbers_of_another_type_are_read() {
        let read = read(json!({
            "max_length": 16.0, "num_beams": true, "do_sample": 1, "length_penalty": 2,
            "early_stopping": 1, "temperature": true, "eos_token_id": 1.0, "output_scores": 0.0,
            "forced_bos_token_id": 2.0, "min_length": false, "remove_invalid_values": 1,
            "renormalize_logits": 1.0,
        }))
        .expect("all are read");
        assert_eq!(read.max_length, Some(16));
        assert_eq!(read.num_beams, Some(1));
        assert_eq!(read.do_sample, Some(true));
        assert_eq!(read.length_penalty, Some(2.0));
        assert_eq!(read.early_stopping, Some(EarlyStopping::False), "1 is not the constant True");
        assert_eq!(read.temperature, Some(1.0));
        assert_eq!(read.eos_token_id, Some(vec![1]));
        assert_eq!(read.output_scores, Some(false));
        assert_eq!(read.forced_bos_token_id, Some(2));
        assert_eq!(read.min_length, Some(0));
        assert_eq!(read.remove_invalid_values, Some(false), "1 is not the constant True");
        assert_eq!(read.renormalize_logits, Some(false), "nor is 1.0");
        let constant = json!({"remove_invalid_values": true, "renormalize_logits": true});
        let constant = GenerationParameters::from_json(constant.as_object().expect("map"));
        let constant = constant.expect("both are read");
        assert_eq!(constant.remove_invalid_values, Some(true));
        assert_eq!(constant.renormalize_logits, Some(true));
    }

    #[test]
    fn lists_have_limits_which_the_error_names() {
        for (name, list, limit) in [
            ("bad_words_ids", json!(vec![[5]; 16_385]), "16384"),
            ("bad_words_ids", json!([vec![5; 65_537]]), "65536"),
            ("sequence_bias", json!(vec![([5], 1.0); 16_385]), "16384"),
            ("sequence_bias", json!([(vec![5; 65_537], 1.0)]), "65536"),
            ("force_words_ids", json!(vec![[5]; 65]), "64"),
            ("eos_token_id", json!(vec![5; 257]), "256"),
            ("forced_eos_token_id", json!(vec![5; 257]), "256"),
            ("suppress_tokens", json!(vec![5; 65_537]), "65536"),
            ("begin_suppress_tokens", json!(vec![5; 65_537]), "65536"),
            ("decoder_input_ids", json!(vec![5; 65_537]), "65536"),
            ("global_attention_mask", json!(vec![1; 65_537]), "65536"),
            ("stop_strings", json!(vec!["x"; 65]), "64"),
            ("stop_strings", json!(["x".repeat(1025)]), "1024"),
        ] {
            let said = message(json!({name: list}));
            assert!(said.contains(name) && said.contains(limit) && said.len() < 400, "{said}");
        }
    }

    #[test]
    fn a_refused_stop_string_is_not_repeated() {
        for value in [json!("secret".repeat(500)), json!(["secret", 5]), json!({"secret": 1})] {
            let said = message(json!({"stop_strings": value}));
            assert!(!said.contains("secretsecret") && !said.contains("\"secret\""), "{said}");
        }
    }

    #[test]
    fn parameters_lie_over_defaults_and_null_clears_them() {
        let defaults =
            json!({"num_beams": 8, "max_length": 64, "forced_eos_token_id": 1, "custom": {}});
        let defaults = ModelDefaults::read(defaults.as_object().expect("map"));
        let own = read(json!({"num_beams": 2, "forced_eos_token_id": null})).expect("valid");
        let merged = defaults.under(&own).expect("entries of the model's own pass");
        assert_eq!(merged.num_beams, Some(2));
        assert_eq!(merged.max_length, Some(64));
        assert_eq!(merged.forced_eos_token_id, None);
    }
}
