//! Documents that are longer than the input of a model, its window.
//!
//! A document is split into parts at the borders of sections and sentences. All parts are
//! summarized together, and their summaries are joined. A joined summary that is much too long is
//! summarized again.
//!
//! * `sentences`: splits a text into sentences.
//! * `words`: counts and compares words.
//! * `parts`: splits a document into parts that fit the window.
//! * `lexrank`: scores sentences by how central they are.
//! * `reading`: chooses the texts that the model reads.
//! * `length`: the maximum length of a summary.
//! * `join`: joins the summaries of parts.
//! * `rounds`: [`Summarizer::summarize_long`](crate::Summarizer::summarize_long).

mod join;
mod length;
mod lexrank;
mod parts;
mod reading;
mod rounds;
mod sentences;
mod words;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

pub use self::length::{Length, LengthError};

/// A text of any length, divided into sections.
#[derive(Clone, Debug, Default)]
pub struct LongDocument<'a> {
    text: Cow<'a, str>,
    /// Byte offset of each section after the first.
    sections: Vec<usize>,
}

impl<'a> LongDocument<'a> {
    /// Creates a document of one section.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Self {
        Self { text: text.into(), sections: Vec::new() }
    }

    /// Adds a section. An empty line separates it from text before it.
    pub fn push_section(&mut self, heading: Option<&str>, text: &str) {
        let whole = self.text.to_mut();
        if !whole.is_empty() {
            whole.push_str("\n\n");
            self.sections.push(whole.len());
        }
        if let Some(heading) = heading {
            whole.push_str(heading);
            whole.push_str("\n\n");
        }
        whole.push_str(text);
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// How to read a document that is longer than the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reading {
    /// The whole document, in parts.
    #[default]
    Parts,
    /// Only the part that fits the window, as transformers truncates.
    First,
    /// Only the most central sentences, as many as fit the window.
    Lexrank,
}

impl Reading {
    /// All ways to read.
    pub const ALL: [Self; 3] = [Self::Parts, Self::First, Self::Lexrank];

    /// Name of the way to read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parts => "parts",
            Self::First => "first",
            Self::Lexrank => "lexrank",
        }
    }
}

/// An unknown name of a [`Reading`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no way to read a long document: give parts, first or lexrank")]
pub struct ReadingError(String);

impl FromStr for Reading {
    type Err = ReadingError;

    fn from_str(text: &str) -> Result<Self, ReadingError> {
        let known = Self::ALL.into_iter().find(|reading| reading.name() == text);
        known.ok_or_else(|| ReadingError(text.chars().take(40).collect()))
    }
}

/// How to summarize long documents.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LongOptions {
    /// How to read documents that are longer than the window.
    pub reading: Reading,
    /// Maximum length of a summary. `None` means [`Length::Medium`] for a document that is read in
    /// several parts, and no limit for a document that is read at once.
    pub length: Option<Length>,
}

/// How much of a document was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Words of the document.
    pub words: usize,
    /// Words that the model read.
    pub words_read: usize,
    /// Number of parts.
    pub parts: usize,
}

impl fmt::Display for Read {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, words_read) = (grouped(self.words), grouped(self.words_read));
        write!(formatter, "read {words_read} of {words} words")?;
        if self.words_read < self.words {
            let percent = self.words_read as f64 / self.words as f64 * 100.0;
            let places = usize::from(percent < 1.0);
            write!(formatter, " ({percent:.places$}%)")?;
        }
        match self.parts {
            1 => Ok(()),
            parts => write!(formatter, " in {} parts", grouped(parts)),
        }
    }
}

/// A number with a comma after every three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_a_sentence() {
        let read = |words, words_read, parts| Read { words, words_read, parts }.to_string();
        assert_eq!(read(22_763, 22_763, 94), "read 22,763 of 22,763 words in 94 parts");
        assert_eq!(read(136, 136, 1), "read 136 of 136 words");
        assert_eq!(read(1_022_763, 18_000, 1), "read 18,000 of 1,022,763 words (2%)");
        assert_eq!(read(22_763, 20, 1), "read 20 of 22,763 words (0.1%)");
    }

    #[test]
    fn sections_are_apart_and_their_places_known() {
        let mut document = LongDocument::default();
        document.push_section(Some("One"), "First.");
        document.push_section(None, "Second.");
        assert_eq!(document.text(), "One\n\nFirst.\n\nSecond.");
        assert_eq!(document.sections, [document.text().find("Second").unwrap()]);
    }

    #[test]
    fn readings_have_names() {
        for reading in Reading::ALL {
            assert_eq!(reading.name().parse(), Ok(reading));
        }
        assert!("all".parse::<Reading>().unwrap_err().to_string().contains("lexrank"));
    }
}
