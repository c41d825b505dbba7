//! What the parent asks of the child, and what it hears.

use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::error::ErrorKind;
use crate::options::Options;

/// Limits of a child process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Limits {
    /// Most bytes of memory.
    pub memory: u64,
    /// Most seconds, of the clock.
    pub seconds: u64,
    /// Most bytes of the file.
    pub file: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 1 << 30, seconds: 60, file: 512 << 20 }
    }
}

/// The argument of the child.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) name: Option<String>,
    pub(crate) options: Options,
    pub(crate) limits: Limits,
}

/// What the child writes, as JSON.
pub(crate) type Answer = Result<Vec<Document>, ErrorKind>;

/// Most bytes of an answer: JSON doubles quotation marks and line ends.
pub(crate) fn longest_answer(options: &Options) -> u64 {
    2 * options.max_text as u64 + (1 << 20)
}
