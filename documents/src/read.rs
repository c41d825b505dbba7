//! Reads documents from bytes.

use crate::detect::{Found, detect};
use crate::document::{Document, Format};
use crate::encoding;
use crate::error::{Error, ErrorKind};
use crate::options::Options;
use crate::plain;

/// Reads a file of any supported format.
///
/// `name` is for messages, and decides where the content could be of two formats, as Markdown and
/// plain text. A table or a file of JSON lines gives a document for each row, all others one.
///
/// # Errors
///
/// An [`Error`] says what is wrong with the file.
pub fn read(bytes: &[u8], name: Option<&str>, options: &Options) -> Result<Vec<Document>, Error> {
    read_kind(bytes, name, options).map_err(|kind| Error::new(name, kind))
}

pub(crate) fn read_kind(
    bytes: &[u8],
    name: Option<&str>,
    options: &Options,
) -> Result<Vec<Document>, ErrorKind> {
    match detect(bytes, name) {
        Found::Format(format) => read_format(format, bytes, options),
        Found::Empty => Err(ErrorKind::Empty),
        #[cfg(feature = "zip")]
        Found::Zip => read_format(crate::archive::format(bytes)?, bytes, options),
        #[cfg(not(feature = "zip"))]
        Found::Zip => Err(ErrorKind::NotADocument("a ZIP archive".into())),
        Found::Other(kind) => Err(kind),
    }
}

fn read_format(
    format: Format,
    bytes: &[u8],
    options: &Options,
) -> Result<Vec<Document>, ErrorKind> {
    let limit = options.max_text;
    #[cfg(feature = "zip")]
    let unpacked = options.max_unpacked;
    let (title, sections) = match format {
        Format::PlainText => (None, plain::read(&text_of(bytes, limit)?, limit)?),
        #[cfg(feature = "markdown")]
        Format::Markdown => crate::markdown::read(&text_of(bytes, limit)?, limit)?,
        #[cfg(feature = "html")]
        Format::Html => crate::html::read(bytes, limit)?,
        #[cfg(feature = "pdf")]
        Format::Pdf => crate::pdf::read(bytes, limit)?,
        #[cfg(feature = "docx")]
        Format::Docx => crate::docx::read(bytes, limit, unpacked)?,
        #[cfg(feature = "odt")]
        Format::Odt => crate::odt::read(bytes, limit, unpacked)?,
        #[cfg(feature = "rtf")]
        Format::Rtf => crate::rtf::read(bytes, limit)?,
        #[cfg(feature = "epub")]
        Format::Epub => crate::epub::read(bytes, limit, unpacked)?,
        #[cfg(feature = "email")]
        Format::Email => crate::email::read(bytes, limit)?,
        #[cfg(feature = "subtitles")]
        Format::Subtitles => (None, crate::subtitles::read(&text_of(bytes, limit)?, limit)?),
        #[cfg(feature = "tables")]
        Format::Csv => return crate::table::csv(&text_of(bytes, limit)?, options),
        #[cfg(feature = "tables")]
        Format::JsonLines => return crate::table::json(&text_of(bytes, limit)?, options),
        #[allow(unreachable_patterns, reason = "with all features, no format is left")]
        format => return Err(ErrorKind::NotBuilt(format)),
    };
    match sections {
        Some(sections) => Ok(vec![Document { format, title, sections }]),
        None if format == Format::PlainText => Err(ErrorKind::Empty),
        None if format == Format::Pdf => Err(ErrorKind::Scanned),
        None => Err(ErrorKind::NoText(format)),
    }
}

/// The decoded text of a file, which may have at most four bytes per byte of text.
fn text_of(bytes: &[u8], limit: usize) -> Result<String, ErrorKind> {
    if bytes.len() > limit.saturating_mul(4) {
        return Err(crate::builder::too_much_text(limit));
    }
    encoding::decode(bytes).ok_or_else(|| ErrorKind::NotADocument("binary data".into()))
}
