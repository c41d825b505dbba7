//! Errors of reading a file.

use serde::{Deserialize, Serialize};

use crate::document::Format;

/// Error of reading a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {kind}", name.as_ref().map_or("the document".into(), |name| format!("'{name}'")))]
pub struct Error {
    /// Name of the file, if it has one.
    pub name: Option<String>,
    /// Kind of the error.
    pub kind: ErrorKind,
}

impl Error {
    pub(crate) fn new(name: Option<&str>, kind: ErrorKind) -> Self {
        Self { name: name.map(str::to_owned), kind }
    }
}

/// Kind of an error. The message follows the name of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file is empty, or only white space.
    #[error("is empty: give it some text to summarize")]
    Empty,
    /// The pages have no text.
    #[error("has no text in it (scanned?)")]
    Scanned,
    /// The document has no text.
    #[error("is {} without any text", a(&.0.to_string()))]
    NoText(Format),
    /// The file can only be opened with a password.
    #[error("is encrypted: save it without a password first")]
    Encrypted,
    /// The file is not a document.
    #[error("is {0}, which has no text to read: give a document")]
    NotADocument(String),
    /// This kind of document is not supported. The message says what to do.
    #[error("is {what}, which is not read: {instead}")]
    Unsupported {
        /// Kind of the document, with its article.
        what: String,
        /// Advice.
        instead: String,
    },
    /// The content does not match the format of its first bytes.
    #[error("is no valid {format}: {reason}")]
    Damaged {
        /// Format of the first bytes.
        format: Format,
        /// Reason.
        reason: String,
    },
    /// The requested column does not exist.
    #[error("has no column '{wanted}': its columns are {}", quoted(.columns))]
    NoColumn {
        /// Name of the requested column.
        wanted: String,
        /// Names of the existing columns.
        columns: Vec<String>,
    },
    /// No column has a known name of a text column.
    #[error("has no column named 'text': name the one with the text, of {}", quoted(.0))]
    NoTextColumn(Vec<String>),
    /// The file exceeds a limit.
    #[error("is too large: {what} is over the limit of {} MiB", .limit >> 20)]
    TooLarge {
        /// Part that is too large.
        what: String,
        /// Limit in bytes.
        limit: u64,
    },
    /// This build does not support the format.
    #[error("is {}, and this program was built without it", a(&.0.to_string()))]
    NotBuilt(Format),
    /// The child process reached its memory limit.
    #[error("needs more than {} MiB of memory to read, so that it was given up", .0 >> 20)]
    OutOfMemory(u64),
    /// The child process reached its time limit.
    #[error("takes more than {0} seconds to read, so that it was given up")]
    OutOfTime(u64),
    /// The child process ended without an answer.
    #[error("made its reader crash ({0}): the file is damaged, or made to do so")]
    Crashed(String),
    /// The file cannot be read, or the child process cannot be started.
    #[error("cannot be read: {0}")]
    Io(String),
}

impl ErrorKind {
    /// Creates the error of a damaged file.
    #[allow(dead_code, reason = "not every set of formats needs it")]
    pub(crate) fn damaged(format: Format, reason: impl ToString) -> Self {
        Self::Damaged { format, reason: reason.to_string() }
    }
}

/// A noun with its article.
fn a(noun: &str) -> String {
    // Letters whose spoken name begins with a vowel.
    let is_vowel = noun.starts_with(['a', 'e', 'i', 'o', 'H', 'E', 'O', 'R']);
    match noun {
        "plain text" | "Markdown" | "HTML" | "subtitles" | "CSV" | "JSON lines" => noun.to_owned(),
        _ => format!("{} {noun}", if is_vowel { "an" } else { "a" }),
    }
}

fn quoted(names: &[String]) -> String {
    let mut shown: Vec<_> = names.iter().take(20).map(|name| format!("'{name}'")).collect();
    if names.len() > shown.len() {
        shown.push("and more".to_owned());
    }
    shown.join(", ")
}
