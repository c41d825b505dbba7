//! What a caller chooses.

use serde::{Deserialize, Serialize};

/// How documents are read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Options {
    /// The column of a table, or the field of a JSON object, that has the text. Left out, it is the
    /// first of `text`, `document`, `article`, `content`, `body` and a few more that is there.
    pub text_column: Option<String>,
    /// Most bytes of text, over all documents of a file.
    pub max_text: usize,
    /// Most bytes that an archive may unpack to.
    pub max_unpacked: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { text_column: None, max_text: 16 << 20, max_unpacked: 256 << 20 }
    }
}
