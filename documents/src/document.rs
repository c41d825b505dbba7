//! The document model: documents, sections and formats.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A document: a file, or one row of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The format of the file.
    pub format: Format,
    /// Title, if the format has one.
    pub title: Option<String>,
    /// Text in reading order. At least one section has text.
    pub sections: Vec<Section>,
}

/// A part of a document.
///
/// A section without a heading continues the section before it, for example at a page break within
/// a chapter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// The heading, which is not part of the text.
    pub heading: Option<String>,
    /// Page on which the section begins, from 1, if the format has pages.
    pub page: Option<u32>,
    /// Text, with empty lines between paragraphs.
    pub text: String,
}

impl Document {
    /// All text with its headings, with empty lines between paragraphs. Excludes the title.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for section in &self.sections {
            for part in section.heading.iter().chain([&section.text]).filter(|it| !it.is_empty()) {
                if !text.is_empty() {
                    text.push_str("\n\n");
                }
                text.push_str(part);
            }
        }
        text
    }

    /// Number of words in the sections, which white space separates.
    pub fn words(&self) -> usize {
        self.sections.iter().map(|section| section.text.split_whitespace().count()).sum()
    }
}

/// A supported format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Format {
    /// Text in any encoding.
    PlainText,
    /// Markdown.
    Markdown,
    /// A page of HTML or XHTML.
    Html,
    /// PDF.
    Pdf,
    /// Word (`.docx`).
    Docx,
    /// OpenDocument text (`.odt`).
    Odt,
    /// Rich Text Format.
    Rtf,
    /// E-book in EPUB.
    Epub,
    /// E-mail (`.eml`).
    Email,
    /// Subtitles: SubRip (`.srt`) or WebVTT (`.vtt`).
    Subtitles,
    /// Table with a text column, separated by commas, semicolons or tabs.
    Csv,
    /// JSON objects with a text field, one per line.
    JsonLines,
}

impl Format {
    /// Whether [`isolated::Extractor`](crate::isolated::Extractor) reads it in a child process.
    pub(crate) fn is_isolated(self) -> bool {
        !matches!(self, Self::PlainText | Self::Subtitles | Self::Csv | Self::JsonLines)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PlainText => "plain text",
            Self::Markdown => "Markdown",
            Self::Html => "HTML",
            Self::Pdf => "PDF",
            Self::Docx => "DOCX",
            Self::Odt => "ODT",
            Self::Rtf => "RTF",
            Self::Epub => "EPUB",
            Self::Email => "e-mail",
            Self::Subtitles => "subtitles",
            Self::Csv => "CSV",
            Self::JsonLines => "JSON lines",
        })
    }
}
