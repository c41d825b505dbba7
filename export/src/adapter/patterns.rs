//! Values of `adapter_config.json` for some modules: `rank_pattern`, `alpha_pattern`.

use fancy_regex::Regex;
use serde_json::{Map, Value};

use crate::checkpoint::ADAPTER_CONFIG;
use crate::{Error, Result};

/// Limits of the number of patterns and of the length of one.
const MAX_PATTERNS: usize = 10_000;
const MAX_LENGTH: usize = 1_000;

/// Numbers by pattern.
pub(super) struct Patterns {
    field: &'static str,
    patterns: Vec<(Regex, f64)>,
}

impl Patterns {
    pub(super) fn read(config: &Map<String, Value>, field: &'static str) -> Result<Self> {
        let mut patterns = Vec::new();
        if let Some(Value::Object(object)) = config.get(field) {
            if object.len() > MAX_PATTERNS {
                return Err(error(field, "has more patterns than any model has modules"));
            }
            for (pattern, number) in object {
                let number = number
                    .as_f64()
                    .ok_or_else(|| error(field, "has a value that is not a number"))?;
                // As in `get_pattern_key` of `peft/utils/other.py`, the pattern matches the end of
                // the name.
                let regex = match pattern.len() <= MAX_LENGTH {
                    true => Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$")).ok(),
                    false => None,
                };
                let regex = regex
                    .ok_or_else(|| error(field, "has a key that is not a regular expression"))?;
                patterns.push((regex, number));
            }
        }
        Ok(Self { field, patterns })
    }

    /// The value of the first pattern that matches the module.
    pub(super) fn of(&self, module: &str) -> Result<Option<f64>> {
        for (regex, number) in &self.patterns {
            match regex.is_match(module) {
                Ok(true) => return Ok(Some(*number)),
                Ok(false) => {}
                Err(_) => {
                    return Err(error(self.field, "has a regular expression that takes too long"));
                }
            }
        }
        Ok(None)
    }
}

fn error(field: &str, problem: &str) -> Error {
    Error::Config {
        file: ADAPTER_CONFIG.to_owned(),
        field: field.to_owned(),
        problem: problem.to_owned(),
    }
}
