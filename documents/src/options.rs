//! Options of reading.

use serde::{Deserialize, Serialize};

/// Options of reading documents.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Options {
    /// Column of a table, or field of a JSON object, with the text. By default it is the first
    /// existing one of `text`, `document`, `article`, `content`, `body` and a few more.
    pub text_column: Option<String>,
    /// Largest text in bytes, over all documents of a file.
    pub max_text: usize,
    /// Largest unpacked size of an archive in bytes.
    pub max_unpacked: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { text_column: None, max_text: 16 << 20, max_unpacked: 256 << 20 }
    }
}
