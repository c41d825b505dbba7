//! Reads config.json field by field. Errors name the field.

use std::fmt::Display;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::version::Version;

/// Limit of sizes in config.json, far above real models and far below an overflow.
const LARGEST_SIZE: u64 = 1 << 24;

/// The fields of config.json.
#[derive(Clone, Debug)]
pub(crate) struct ModelConfig {
    fields: Map<String, Value>,
    /// Number of tensors in the checkpoint, which limits the number of layers.
    tensors: usize,
}

impl ModelConfig {
    /// Wraps the parsed config.json of a checkpoint with `tensors` tensors.
    pub(crate) fn new(fields: Map<String, Value>, tensors: usize) -> Self {
        Self { fields, tensors }
    }

    /// Renames fields with another name (transformers' `attribute_map`). As in transformers, the
    /// other name wins if both are given.
    pub(crate) fn with_aliases(mut self, aliases: &[(&str, &str)]) -> Self {
        for (alias, field) in aliases {
            if let Some(value) = self.get(alias).cloned() {
                self.fields.insert((*field).into(), value);
            }
        }
        self
    }

    /// The version of transformers that the checkpoint is read as.
    pub(crate) fn version(&self) -> Version {
        Version::of(&self.fields)
    }

    /// Reads the configuration of a submodel, the value of the field `part`.
    pub(crate) fn within<T>(&self, part: &str, read: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let Some(Value::Object(fields)) = self.get(part) else {
            return Err(wrong(part, "is missing, but must hold the configuration of that part"));
        };
        let config = Self { fields: fields.clone(), tensors: self.tensors };
        read(&config).map_err(|error| match error {
            Error::Config { file, field, problem } => {
                Error::Config { file, field: format!("{part}.{field}"), problem }
            }
            other => other,
        })
    }

    /// A number of layers, or its default.
    pub(crate) fn layers_or(&self, field: &str, default: usize) -> Result<usize> {
        let layers = self.size_or(field, default)?;
        if layers <= self.tensors {
            return Ok(layers);
        }
        let tensors = self.tensors;
        Err(wrong(
            field,
            format_args!("is {layers}, but the weights hold {tensors} tensors in all"),
        ))
    }

    /// A positive size of at most `max`, or its default.
    pub(crate) fn bounded_or(&self, field: &str, default: usize, max: usize) -> Result<usize> {
        let size = self.size_or(field, default)?;
        if size <= max {
            return Ok(size);
        }
        Err(wrong(field, format_args!("is {size}, but must be at most {max}")))
    }

    /// The value of a field. null counts as absent, as in transformers.
    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// Whether a field is null.
    pub(crate) fn is_null(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(Value::is_null)
    }

    /// A positive size, or its default.
    pub(crate) fn size_or(&self, field: &str, default: usize) -> Result<usize> {
        Ok(self.optional_size(field)?.unwrap_or(default))
    }

    /// A positive size, or `None` if it is absent.
    pub(crate) fn optional_size(&self, field: &str) -> Result<Option<usize>> {
        self.get(field).map(|value| size_of(field, value)).transpose()
    }

    /// Positive sizes: one for each of `layers`, or one for all of them.
    pub(crate) fn sizes_or(
        &self,
        field: &str,
        default: usize,
        layers: usize,
    ) -> Result<Vec<usize>> {
        match self.get(field) {
            None => Ok(vec![default; layers]),
            Some(Value::Array(values)) if values.len() == layers => {
                values.iter().map(|value| size_of(field, value)).collect()
            }
            Some(Value::Array(values)) => {
                Err(wrong(field, format_args!("has {} values for {layers} layers", values.len())))
            }
            Some(value) => Ok(vec![size_of(field, value)?; layers]),
        }
    }

    /// A number, or its default.
    pub(crate) fn number_or(&self, field: &str, default: f64) -> Result<f64> {
        self.get(field).map_or(Ok(default), |value| {
            value
                .as_f64()
                .filter(|number| number.is_finite())
                .ok_or_else(|| wrong(field, format_args!("is {value}, but must be a number")))
        })
    }

    /// A number above 0, or its default.
    pub(crate) fn positive_or(&self, field: &str, default: f32) -> Result<f32> {
        self.get(field).map_or(Ok(default), |value| {
            value
                .as_f64()
                .map(|number| number as f32)
                .filter(|number| *number > 0.0 && number.is_finite())
                .ok_or_else(|| {
                    wrong(field, format_args!("is {value}, but must be a number above 0"))
                })
        })
    }

    /// A number above 0, `None` if the field is null, or its default.
    pub(crate) fn positive_or_null(
        &self,
        field: &str,
        default: Option<f32>,
    ) -> Result<Option<f32>> {
        match self.fields.get(field) {
            None => Ok(default),
            Some(Value::Null) => Ok(None),
            Some(_) => self.positive_or(field, 1.0).map(Some),
        }
    }

    /// A flag, or its default.
    pub(crate) fn flag(&self, field: &str, default: bool) -> Result<bool> {
        self.get(field).map_or(Ok(default), |value| {
            value
                .as_bool()
                .ok_or_else(|| wrong(field, format_args!("is {value}, but must be true or false")))
        })
    }

    /// A token id, or its default.
    pub(crate) fn token_or(&self, field: &str, default: u32, vocab_size: usize) -> Result<u32> {
        let Some(value) = self.get(field) else {
            return Ok(default);
        };
        match value.as_u64() {
            Some(id) if id < vocab_size as u64 => Ok(id as u32),
            _ => Err(wrong(
                field,
                format_args!("is {value}, but must be a token id below vocab_size {vocab_size}"),
            )),
        }
    }

    /// A string, or its default.
    pub(crate) fn string_or<'a>(&'a self, field: &str, default: &'a str) -> Result<&'a str> {
        match self.get(field) {
            Some(_) => self.string(field),
            None => Ok(default),
        }
    }

    /// A required string.
    pub(crate) fn string(&self, field: &str) -> Result<&str> {
        let value = self.get(field).ok_or_else(|| wrong(field, "is missing"))?;
        value.as_str().ok_or_else(|| wrong(field, format_args!("is {value}, but must be a text")))
    }

    /// A number of attention heads that divides `hidden`, or its default.
    pub(crate) fn heads_or(&self, field: &str, default: usize, hidden: usize) -> Result<usize> {
        let heads = self.size_or(field, default)?;
        if hidden.is_multiple_of(heads) {
            Ok(heads)
        } else {
            Err(wrong(
                field,
                format_args!("is {heads}, which does not divide the hidden size {hidden}"),
            ))
        }
    }
}

fn size_of(field: &str, value: &Value) -> Result<usize> {
    match value.as_u64() {
        Some(size @ 1..=LARGEST_SIZE) => Ok(size as usize),
        _ => Err(wrong(
            field,
            format_args!("is {value}, but must be a whole number from 1 to {LARGEST_SIZE}"),
        )),
    }
}

/// An error about a field of config.json.
pub(super) fn wrong(field: &str, problem: impl Display) -> Error {
    Error::Config { file: "config.json".into(), field: field.into(), problem: problem.to_string() }
}
