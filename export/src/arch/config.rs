//! config.json, read field by field, so that a wrong one is named.

use std::fmt::Display;

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The largest size a configuration may name: far above any real model, far below an overflow.
const LARGEST_SIZE: u64 = 1 << 24;

/// The fields of config.json.
#[derive(Clone, Debug)]
pub struct ModelConfig(Map<String, Value>);

impl ModelConfig {
    /// Wraps the parsed file.
    pub fn new(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// A field as it stands; null counts as absent, as in transformers.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// A positive size that must be there.
    pub fn size(&self, field: &str) -> Result<usize> {
        let value = self.get(field).ok_or_else(|| wrong(field, "is missing"))?;
        match value.as_u64() {
            Some(size @ 1..=LARGEST_SIZE) => Ok(size as usize),
            _ => Err(wrong(
                field,
                format_args!("is {value}, but must be a whole number from 1 to {LARGEST_SIZE}"),
            )),
        }
    }

    /// A flag, or its default.
    pub fn flag(&self, field: &str, default: bool) -> Result<bool> {
        self.get(field).map_or(Ok(default), |value| {
            value
                .as_bool()
                .ok_or_else(|| wrong(field, format_args!("is {value}, but must be true or false")))
        })
    }

    /// A token id that must be there.
    pub fn token(&self, field: &str, vocab_size: usize) -> Result<u32> {
        let value = self.get(field).ok_or_else(|| wrong(field, "is missing"))?;
        match value.as_u64() {
            Some(id) if id < vocab_size as u64 => Ok(id as u32),
            _ => Err(wrong(
                field,
                format_args!("is {value}, but must be a token id below vocab_size {vocab_size}"),
            )),
        }
    }

    /// A text that must be there.
    pub fn string(&self, field: &str) -> Result<&str> {
        let value = self.get(field).ok_or_else(|| wrong(field, "is missing"))?;
        value
            .as_str()
            .ok_or_else(|| wrong(field, format_args!("is {value}, but must be a text")))
    }

    /// Attention heads that share `hidden` evenly.
    pub fn heads(&self, field: &str, hidden: usize) -> Result<usize> {
        let heads = self.size(field)?;
        if hidden.is_multiple_of(heads) {
            Ok(heads)
        } else {
            Err(wrong(
                field,
                format_args!("is {heads}, which does not divide the hidden size {hidden}"),
            ))
        }
    }

    /// All fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// An error about a field of config.json.
pub(super) fn wrong(field: &str, problem: impl Display) -> Error {
    Error::Config {
        file: "config.json".into(),
        field: field.into(),
        problem: problem.to_string(),
    }
}
