//! The languages of the rules.

use serde::{Deserialize, Serialize};

/// A language that the rules support.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// German.
    De,
    /// English.
    En,
    /// Russian.
    Ru,
}

impl Language {
    /// All languages with their codes.
    pub const ALL: [(&'static str, Self); 3] =
        [("de", Self::De), ("en", Self::En), ("ru", Self::Ru)];

    /// The language with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == code).map(|(_, language)| *language)
    }

    /// The code: `de`, `en` or `ru`.
    pub fn code(self) -> &'static str {
        Self::ALL.iter().find(|(_, known)| *known == self).map_or("", |(code, _)| code)
    }
}
