//! The types of parameters, and how JSON values are read as them.
//!
//! Numbers are read as Python reads them: `16.0` is the whole number 16, `true` is 1, and 1 is
//! true.

use std::str::FromStr;

use serde_json::{Value, json};

use crate::generation::error::{ParameterError, shown};

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
    pub(super) fn is_sound(&self) -> bool {
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

/// The tokens of a source with global attention: they attend to all others, and all others to them
/// (LED).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GlobalAttentionMask(Vec<bool>);

impl GlobalAttentionMask {
    /// The name of the parameter.
    pub const NAME: &'static str = "global_attention_mask";
    /// What it may be, for messages.
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

    /// Whether each of a source's tokens has global attention, without end.
    pub fn tokens(&self) -> impl Iterator<Item = bool> {
        self.0.iter().copied().chain(std::iter::repeat(false))
    }

    /// For how many tokens the mask says it; those behind have none.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the mask says it for no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value in JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self.0.as_slice() {
            [true] => "first".into(),
            _ if self.is_none() => "none".into(),
            tokens => tokens.iter().map(|&global| Value::from(u8::from(global))).collect(),
        }
    }
}

/// `first`, `none`, or numbers with commas between them: `1,0,1`.
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

/// A type that a parameter's JSON value can be read as; `None` where it does not fit.
pub(super) trait FromJson: Sized {
    /// The usual form of such a value, as a JSON schema.
    fn schema() -> Value;

    fn from_json(value: &Value) -> Option<Self>;
}

/// The schema of a list.
fn list_schema(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

/// The schema of a list, in whose place one item may stand.
fn list_or_one_schema(items: &Value) -> Value {
    json!({"anyOf": [items, list_schema(items)]})
}

/// A number without a fraction.
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Bool(flag) => Some(i128::from(*flag)),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => Some(whole.into()),
            (_, Some(whole), _) => Some(whole.into()),
            // A conversion that does not fit becomes the nearest number that does.
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
            // transformers accepts 1, which equals true, and then asks whether it `is True`.
            other => bool::from_json(other).map(|_| Self::False),
        }
    }
}

/// Items of an array.
fn list<T>(value: &Value, item: impl FnMut(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(item).collect()
}

/// One token id stands for a list of one, as in transformers.
impl FromJson for Vec<u32> {
    fn schema() -> Value {
        list_or_one_schema(&u32::schema())
    }

    fn from_json(value: &Value) -> Option<Self> {
        list(value, u32::from_json).or_else(|| Some(vec![u32::from_json(value)?]))
    }
}

/// One token id stands for a list of one, as in transformers.
impl FromJson for Vec<i64> {
    fn schema() -> Value {
        list_or_one_schema(&i64::schema())
    }

    fn from_json(value: &Value) -> Option<Self> {
        list(value, i64::from_json).or_else(|| Some(vec![i64::from_json(value)?]))
    }
}

/// One text stands for a list of one, as in transformers.
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

/// A list of tokens is a phrase and a list of lists a choice, as in `force_words_ids`; or the class
/// is named, as in `{"PhrasalConstraint": [5, 6]}`.
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
