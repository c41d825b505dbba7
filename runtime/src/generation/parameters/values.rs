//! The types of parameters, and how JSON values are read as them.
//!
//! Numbers are read as in Python: `16.0` is the whole number 16, `true` is 1, and 1 is true.

use std::str::FromStr;

use serde_json::{Value, json};

use crate::generation::error::{ParameterError, shown};

/// When beam search may end: transformers' three-valued `early_stopping`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyStopping {
    /// `true`: the search ends as soon as `num_beams` hypotheses are finished.
    True,
    /// `false`: the search ends when no running beam could beat the worst finished one at the
    /// current length.
    #[default]
    False,
    /// `"never"`: as `false`, but with a positive `length_penalty` the maximum length counts.
    Never,
}

/// A bias on a token sequence. It is added to the score of the last token when the other tokens end
/// the history.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceBias {
    /// Token ids, at least one.
    pub token_ids: Vec<u32>,
    /// A finite number that is added to the score.
    pub bias: f64,
}

/// transformers' `exponential_decay_length_penalty`: from a length on, the end token's score grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExponentialDecay {
    /// Number of generated tokens after which the decay starts.
    pub start: usize,
    /// Base of the exponential; a finite number.
    pub factor: f64,
}

/// Tokens that an output must contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constraint {
    /// These tokens in a row: transformers' `PhrasalConstraint`.
    Phrasal(Vec<u32>),
    /// One of these sequences: transformers' `DisjunctiveConstraint`. None may be a prefix of
    /// another.
    Disjunctive(Vec<Vec<u32>>),
}

impl Constraint {
    /// All tokens of the constraint.
    pub(crate) fn tokens(&self) -> Vec<u32> {
        match self {
            Self::Phrasal(tokens) => tokens.clone(),
            Self::Disjunctive(words) => words.concat(),
        }
    }

    /// Whether each alternative can be fulfilled.
    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::Phrasal(tokens) => !tokens.is_empty(),
            Self::Disjunctive(words) => {
                let mut sorted: Vec<&Vec<u32>> = words.iter().collect();
                sorted.sort_unstable();
                // In this order a prefix stands right before a sequence that it begins.
                !words.is_empty()
                    && words.iter().all(|word| !word.is_empty())
                    && sorted.windows(2).all(|pair| !pair[1].starts_with(pair[0]))
            }
        }
    }
}

/// The mask of source tokens with global attention (LED): they attend to all tokens, and all tokens
/// attend to them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GlobalAttentionMask(Vec<bool>);

impl GlobalAttentionMask {
    /// The name of the parameter.
    pub const NAME: &'static str = "global_attention_mask";
    /// The allowed values, for messages.
    pub(super) const ALLOWED: &'static str =
        "\"first\", \"none\" or a list of at most 65536 numbers 0 and 1, one for each token";

    /// No token has global attention.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// The first token has global attention.
    #[must_use]
    pub fn first() -> Self {
        Self(vec![true])
    }

    /// Whether no token has global attention.
    #[must_use]
    pub fn is_none(&self) -> bool {
        !self.0.contains(&true)
    }

    /// For each token of a source whether it has global attention. The iterator is infinite.
    pub fn tokens(&self) -> impl Iterator<Item = bool> {
        self.0.iter().copied().chain(std::iter::repeat(false))
    }

    /// Length of the mask. Tokens after it have no global attention.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the mask has length 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mask as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self.0.as_slice() {
            [true] => "first".into(),
            _ if self.is_none() => "none".into(),
            tokens => tokens.iter().map(|&global| Value::from(u8::from(global))).collect(),
        }
    }
}

/// Reads `first`, `none`, or numbers separated by commas: `1,0,1`.
impl FromStr for GlobalAttentionMask {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        let numbers = serde_json::from_str(&format!("[{text}]"));
        let value = numbers.unwrap_or_else(|_| Value::from(text));
        Self::from_json(&value).ok_or_else(|| ParameterError::Invalid {
            name: Self::NAME,
            value: shown(text.to_owned()),
            allowed: Self::ALLOWED.to_owned(),
        })
    }
}

/// Reads a type from the JSON value of a parameter.
pub(super) trait FromJson: Sized {
    /// The JSON schema of the usual form of a value.
    fn schema() -> Value;

    /// Reads the value; `None` if it does not fit the type.
    fn from_json(value: &Value) -> Option<Self>;
}

/// The schema of a list.
fn list_schema(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

/// The schema of a list, or of a single item.
fn list_or_one_schema(items: &Value) -> Value {
    json!({"anyOf": [items, list_schema(items)]})
}

/// Reads a number without a fraction.
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Bool(flag) => Some(i128::from(*flag)),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => Some(whole.into()),
            (_, Some(whole), _) => Some(whole.into()),
            // The conversion saturates.
            (.., Some(number)) if number.fract() == 0.0 => Some(number as i128),
            _ => None,
        },
        _ => None,
    }
}

impl FromJson for usize {
    fn schema() -> Value {
        json!({"type": "integer", "minimum": 0})
    }

    fn from_json(value: &Value) -> Option<Self> {
        whole(value)?.try_into().ok()
    }
}

impl FromJson for u64 {
    fn schema() -> Value {
        json!({"type": "integer", "minimum": 0})
    }

    fn from_json(value: &Value) -> Option<Self> {
        whole(value)?.try_into().ok()
    }
}

impl FromJson for u32 {
    fn schema() -> Value {
        json!({"type": "integer", "minimum": 0, "maximum": u32::MAX})
    }

    fn from_json(value: &Value) -> Option<Self> {
        whole(value)?.try_into().ok()
    }
}

impl FromJson for i64 {
    fn schema() -> Value {
        json!({"type": "integer"})
    }

    fn from_json(value: &Value) -> Option<Self> {
        Some(whole(value)?.clamp(Self::MIN.into(), Self::MAX.into()) as Self)
    }
}

impl FromJson for f64 {
    fn schema() -> Value {
        json!({"type": "number"})
    }

    fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
            other => other.as_f64(),
        }
    }
}

impl FromJson for bool {
    fn schema() -> Value {
        json!({"type": "boolean"})
    }

    fn from_json(value: &Value) -> Option<Self> {
        match whole(value)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl FromJson for EarlyStopping {
    fn schema() -> Value {
        json!({"enum": [true, false, "never"]})
    }

    fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(true) => Some(Self::True),
            Value::String(word) if word == "never" => Some(Self::Never),
            // transformers accepts 1, which equals true, but then checks whether it `is True`.
            other => bool::from_json(other).map(|_| Self::False),
        }
    }
}

/// Reads the items of an array.
fn list<T>(value: &Value, item: impl FnMut(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(item).collect()
}

/// A single token id is read as a list of one, as in transformers.
impl FromJson for Vec<u32> {
    fn schema() -> Value {
        list_or_one_schema(&u32::schema())
    }

    fn from_json(value: &Value) -> Option<Self> {
        list(value, u32::from_json).or_else(|| Some(vec![u32::from_json(value)?]))
    }
}

/// A single token id is read as a list of one, as in transformers.
impl FromJson for Vec<i64> {
    fn schema() -> Value {
        list_or_one_schema(&i64::schema())
    }

    fn from_json(value: &Value) -> Option<Self> {
        list(value, i64::from_json).or_else(|| Some(vec![i64::from_json(value)?]))
    }
}

/// A single text is read as a list of one, as in transformers.
impl FromJson for Vec<String> {
    fn schema() -> Value {
        list_or_one_schema(&json!({"type": "string"}))
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        list(value, text).or_else(|| Some(vec![text(value)?]))
    }
}

impl FromJson for Vec<Vec<u32>> {
    fn schema() -> Value {
        list_schema(&list_schema(&u32::schema()))
    }

    fn from_json(value: &Value) -> Option<Self> {
        list(value, |item| list(item, u32::from_json))
    }
}

impl FromJson for Vec<SequenceBias> {
    fn schema() -> Value {
        let pair = [list_schema(&u32::schema()), f64::schema()];
        list_schema(&json!({"type": "array", "prefixItems": pair, "minItems": 2, "maxItems": 2}))
    }

    fn from_json(value: &Value) -> Option<Self> {
        list(value, |item| match item.as_array()?.as_slice() {
            [ids, bias] => Some(SequenceBias {
                token_ids: list(ids, u32::from_json)?,
                bias: f64::from_json(bias)?,
            }),
            _ => None,
        })
    }
}

/// A list of tokens is a phrase, and a list of lists is a choice, as in `force_words_ids`. An
/// object names the class, as in `{"PhrasalConstraint": [5, 6]}`.
impl FromJson for Constraint {
    fn schema() -> Value {
        let (phrase, choice) = (list_schema(&u32::schema()), Vec::<Vec<u32>>::schema());
        let class = |name: &str, tokens: &Value| {
            json!({"type": "object", "properties": {name: tokens}, "required": [name],
                "additionalProperties": false})
        };
        json!({"anyOf": [
            phrase, choice, class("PhrasalConstraint", &phrase),
            class("DisjunctiveConstraint", &choice),
        ]})
    }

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
    fn schema() -> Value {
        list_schema(&Constraint::schema())
    }

    fn from_json(value: &Value) -> Option<Self> {
        list(value, Constraint::from_json)
    }
}

impl FromJson for GlobalAttentionMask {
    fn schema() -> Value {
        json!({"anyOf": [{"enum": ["first", "none"]}, list_schema(&json!({"enum": [0, 1]}))]})
    }

    fn from_json(value: &Value) -> Option<Self> {
        match value.as_str() {
            Some("first") => Some(Self::first()),
            Some("none") => Some(Self::none()),
            Some(_) => None,
            None => list(value, bool::from_json).map(Self),
        }
    }
}

impl FromJson for ExponentialDecay {
    fn schema() -> Value {
        let pair = [usize::schema(), f64::schema()];
        json!({"type": "array", "prefixItems": pair, "minItems": 2, "maxItems": 2})
    }

    fn from_json(value: &Value) -> Option<Self> {
        match value.as_array()?.as_slice() {
            [start, factor] => {
                Some(Self { start: usize::from_json(start)?, factor: f64::from_json(factor)? })
            }
            _ => None,
        }
    }
}
