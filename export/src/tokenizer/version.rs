//! Which transformers a checkpoint's tokens are those of.

use serde_json::{Map, Value};

/// The transformers whose tokens a checkpoint reads: that of its training, by its major version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// As 4.57.6, the last release before 5, reads it.
    V4,
    /// As 5.24.0 reads it.
    V5,
}

impl Version {
    /// The version that config.json names; the earlier one where it names none.
    pub(super) fn of(config: &Map<String, Value>) -> Self {
        let version = config.get("transformers_version").and_then(Value::as_str);
        let major = version.and_then(|version| version.split('.').next()?.parse().ok());
        match major.unwrap_or(0) {
            0..5 => Self::V4,
            _ => Self::V5,
        }
    }
}
