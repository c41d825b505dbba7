//! The version of transformers that a checkpoint is read as.

use serde_json::{Map, Value};

/// The version of transformers that a checkpoint is read as: that of its training, by major
/// version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// 4.57.6, the last release before 5.
    V4,
    /// 5.24.0.
    V5,
}

impl Version {
    /// The version that config.json names, or [`Self::V4`] if it names none.
    pub(crate) fn of(config: &Map<String, Value>) -> Self {
        let version = config.get("transformers_version").and_then(Value::as_str);
        let major = version.and_then(|version| version.split('.').next()?.parse().ok());
        match major.unwrap_or(0) {
            0..5 => Self::V4,
            _ => Self::V5,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Version;

    #[test]
    fn the_major_version_decides_and_an_unknown_one_is_the_earlier() {
        for (version, expected) in [
            (json!("5.0.0.dev0"), Version::V5),
            (json!("10.1"), Version::V5),
            (json!("4.57.6"), Version::V4),
            (json!("five"), Version::V4),
            (json!(null), Version::V4),
        ] {
            let config = json!({"transformers_version": version});
            assert_eq!(Version::of(config.as_object().unwrap()), expected, "{version}");
        }
        assert_eq!(Version::of(json!({}).as_object().unwrap()), Version::V4);
    }
}
