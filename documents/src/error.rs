//! What can be wrong with a file.

use serde::{Deserialize, Serialize};

use crate::document::Format;

/// Why a file gave no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {kind}", name.as_ref().map_or("the document".into(), |name| format!("'{name}'")))]
pub struct Error {
    /// The file, where it has a name.
    pub name: Option<String>,
    /// What is wrong with it.
    pub kind: ErrorKind,
}

impl Error {
    pub(crate) fn new(name: Option<&str>, kind: ErrorKind) -> Self {
        Self { name: name.map(str::to_owned), kind }
    }
}

/// What is wrong with a file. The words follow the name of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing, or only white space.
    #[error("is empty: give it some text to summarize")]
    Empty,
    /// Pages without text.
    #[error("has no text in it (scanned?)")]
    Scanned,
    /// A document of this format, in which there is nothing to read.
    #[error("is {} without any text", a(&.0.to_string()))]
    NoText(Format),
    /// The file can only be opened with a password.
    #[error("is encrypted: save it without a password first")]
    Encrypted,
    /// The file is no document.
    #[error("is {0}, which has no text to read: give a document")]
    NotADocument(String),
    /// A document of a kind that is not read, and what to do.
    #[error("is {what}, which is not read: {instead}")]
    Unsupported {
        /// The kind, with its article.
        what: String,
        /// What would be right.
        instead: String,
    },
    /// The file is not what its first bytes promise.
    #[error("is no valid {format}: {reason}")]
    Damaged {
        /// What the file seems to be.
        format: Format,
        /// What is wrong.
        reason: String,
    },
    /// There is no such column.
    #[error("has no column '{wanted}': its columns are {}", quoted(.columns))]
    NoColumn {
        /// The column that was asked for.
        wanted: String,
        /// The columns that there are.
        columns: Vec<String>,
    },
    /// No column is known to have the text.
    #[error("has no column named 'text': name the one with the text, of {}", quoted(.0))]
    NoTextColumn(Vec<String>),
    /// More than is read.
    #[error("is too large: {what} is over the limit of {} MiB", .limit >> 20)]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The format is not in this build.
    #[error("is {}, and this program was built without it", a(&.0.to_string()))]
    NotBuilt(Format),
    /// The child process hit its limit of memory.
    #[error("needs more than {} MiB of memory to read, so that it was given up", .0 >> 20)]
    OutOfMemory(u64),
    /// The child process hit its limit of time.
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
    /// An archive or a document that is not what it claims to be.
    #[allow(dead_code, reason = "not every set of formats needs it")]
    pub(crate) fn damaged(format: Format, reason: impl ToString) -> Self {
        Self::Damaged { format, reason: reason.to_string() }
    }
}

/// A noun with its article.
fn a(noun: &str) -> String {
    // Letters that are spoken with a vowel first.
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
