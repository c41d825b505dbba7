//! Tags of AWS resources.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Tags in AWS's form: a list of objects with `Key` and `Value`.
pub(crate) fn tags(tags: &BTreeMap<String, String>) -> Value {
    tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}
