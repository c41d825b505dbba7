//! PDF: the letters on its pages, joined to lines, paragraphs and headings.
//!
//! `hayro-syntax` reads the file: its objects, filters and encryption. Then [`content`] interprets
//! the pages, [`font`] maps codes to letters and widths, [`lines`] joins letters to lines, and
//! [`layout`] removes headers and footers and builds paragraphs and headings.

mod content;
mod font;
mod layout;
mod lines;
mod matrix;
mod text_string;

use hayro_syntax::{DecryptionError, LoadPdfError, Pdf};

use crate::builder::{Builder, single_spaced, too_much_text};
use crate::document::{Format, Section};
use crate::error::ErrorKind;
use content::Interpreter;
use text_string::text_string;

/// Title and sections.
pub(crate) fn read(
    bytes: &[u8],
    limit: usize,
) -> Result<(Option<String>, Option<Vec<Section>>), ErrorKind> {
    let pdf = Pdf::new(bytes.to_vec()).map_err(|error| match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => ErrorKind::Encrypted,
        LoadPdfError::Decryption(_) => {
            ErrorKind::damaged(Format::Pdf, "its encryption is not understood")
        }
        LoadPdfError::Invalid => ErrorKind::damaged(Format::Pdf, "it has no list of its pages"),
    })?;
    let mut interpreter = Interpreter::new();
    let mut pages = Vec::new();
    let mut length = 0;
    for page in pdf.pages().iter() {
        let lines = lines::lines(interpreter.page(page));
        length += lines.iter().map(|line| line.text.len()).sum::<usize>();
        if length > limit {
            return Err(too_much_text(limit));
        }
        pages.push(lines);
    }
    if pages.is_empty() {
        return Err(ErrorKind::damaged(Format::Pdf, "it has no pages"));
    }
    let mut builder = Builder::new(limit);
    let largest = layout::build(pages, &mut builder)?;
    let title = pdf.metadata().title.as_deref().map(text_string);
    let title = title.and_then(|title| meaningful(&title)).or(largest);
    Ok((title, builder.finish()))
}

/// The title, unless it is a file name that a program put there.
fn meaningful(title: &str) -> Option<String> {
    let title: String = title.chars().filter(|it| !it.is_control() || *it == ' ').collect();
    let title = single_spaced(&title);
    let lower = title.to_lowercase();
    let is_file = [
        ".doc", ".docx", ".dvi", ".tex", ".odt", ".rtf", ".indd", ".qxd", ".pdf", ".ps", ".txt",
        ".html", ".xml", ".ppt", ".pptx",
    ];
    let is_name = lower.starts_with("microsoft word -")
        || lower.starts_with("untitled")
        || is_file.iter().any(|end| lower.ends_with(end))
        || title.chars().filter(|it| it.is_alphabetic()).count() < 3;
    (!is_name).then_some(title)
}
