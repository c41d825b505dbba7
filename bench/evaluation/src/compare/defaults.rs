//! Differences between the generation defaults of two bundles.

use std::collections::BTreeSet;

use epitome_runtime::bundle::Bundle;
use epitome_runtime::{GenerationParameters, ModelSettings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Result;

/// A generation default in which two bundles differ; null where a bundle has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DefaultDifference {
    /// transformers' name.
    pub name: String,
    /// The value of each bundle.
    pub values: [Value; 2],
}

/// The search parameters in which the defaults of two bundles differ. Token ids are left out: they
/// belong to a vocabulary, and not to the search.
///
/// # Errors
///
/// When a bundle's generation defaults cannot be read.
pub fn default_differences(a: &Bundle, b: &Bundle) -> Result<Vec<DefaultDifference>> {
    let [a, b] = [ModelSettings::of(a)?, ModelSettings::of(b)?];
    Ok(differences(a.defaults(), b.defaults()))
}

/// The parameters that make B search as A does by default.
///
/// # Errors
///
/// When a bundle's generation defaults cannot be read.
pub fn shared_defaults(a: &Bundle, b: &Bundle) -> Result<Map<String, Value>> {
    let differences = default_differences(a, b)?;
    Ok(differences.into_iter().map(|one| (one.name, one.values[0].clone())).collect())
}

fn differences(a: &Map<String, Value>, b: &Map<String, Value>) -> Vec<DefaultDifference> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    names
        .into_iter()
        .filter(|name| !name.contains("token_id"))
        .map(|name| {
            let value =
                |defaults: &Map<String, Value>| defaults.get(name).cloned().unwrap_or(Value::Null);
            DefaultDifference { name: name.clone(), values: [value(a), value(b)] }
        })
        .filter(|one| !same(&one.values[0], &one.values[1]) && one.is_of_the_search())
        .collect()
}

impl DefaultDifference {
    /// Whether the search uses this parameter.
    fn is_of_the_search(&self) -> bool {
        self.values.iter().all(|value| {
            let field = Map::from_iter([(self.name.clone(), value.clone())]);
            let parsed = GenerationParameters::from_json(&field);
            parsed.is_ok_and(|parsed| parsed != GenerationParameters::default())
        })
    }
}

/// Whether two values are equal. 1 equals 1.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn search_parameters_differ_and_token_ids_do_not_count() {
        let map = |value: Value| value.as_object().expect("an object").clone();
        let a = map(json!({"num_beams": 8, "length_penalty": 1, "eos_token_id": 1, "x": 1}));
        let b = map(json!({"num_beams": 4, "length_penalty": 1.0, "eos_token_id": 2,
                           "max_length": 20, "x": 2}));
        let found = differences(&a, &b);
        let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["max_length", "num_beams"]);
        assert_eq!(found[0].values, [Value::Null, json!(20)]);
        assert_eq!(found[1].values, [json!(8), json!(4)]);
        assert!(differences(&a, &a).is_empty());
    }
}
