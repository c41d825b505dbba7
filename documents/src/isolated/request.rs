//! The request to the child process, and its answer.

use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::error::ErrorKind;
use crate::options::Options;

/// Limits of a child process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Limits {
    /// Largest memory in bytes.
    pub memory: u64,
    /// Longest wall-clock time in seconds.
    pub seconds: u64,
    /// Largest file in bytes.
    pub file: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 1 << 30, seconds: 60, file: 512 << 20 }
    }
}

/// Argument of the child.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) name: Option<String>,
    pub(crate) options: Options,
    pub(crate) limits: Limits,
}

/// Answer of the child, as JSON.
pub(crate) type Answer = Result<Vec<Document>, ErrorKind>;

/// Longest answer in bytes. JSON escapes a quotation mark or a line end, which then takes two
/// bytes.
pub(crate) fn longest_answer(options: &Options) -> u64 {
    2 * options.max_text as u64 + (1 << 20)
}
