//! Rows of a dataset.

use crate::error::Result;

/// A document and its summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The document.
    pub(super) text: String,
    /// Its summary.
    pub(super) summary: String,
}

impl Row {
    /// Trims both texts. Fails if one is empty then.
    pub(super) fn new(text: &str, summary: &str) -> Result<Self, LeftOut> {
        let (text, summary) = (text.trim(), summary.trim());
        if text.is_empty() {
            Err(LeftOut::EmptyText)
        } else if summary.is_empty() {
            Err(LeftOut::EmptySummary)
        } else {
            Ok(Self { text: text.into(), summary: summary.into() })
        }
    }
}

/// Why a row is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// The document is missing, or is only whitespace.
    EmptyText,
    /// The summary is missing, or is only whitespace.
    EmptySummary,
    /// A file of the XSum distribution has none of the sections.
    NoSections,
    /// The row is not UTF-8.
    NotText,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::EmptyText => "without a text",
            Self::EmptySummary => "without a summary",
            Self::NoSections => "without XSum's sections",
            Self::NotText => "not in UTF-8",
        })
    }
}

/// Receives each row, in the order of the source.
pub(super) type Sink<'a> = dyn FnMut(Result<Row, LeftOut>) -> Result<()> + 'a;
