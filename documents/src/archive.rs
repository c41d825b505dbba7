//! Files in a ZIP archive, within limits.

use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::document::Format;
use crate::error::ErrorKind;

/// An archive in memory.
pub(crate) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    left: u64,
    limit: u64,
    format: Format,
}

/// The format of an archive, according to its entries.
pub(crate) fn format(bytes: &[u8]) -> Result<Format, ErrorKind> {
    let Ok(zip) = ZipArchive::new(Cursor::new(bytes)) else {
        // A truncated archive has lost the list of its files, which is at its end.
        let has = |part: &str| bytes.windows(part.len()).any(|window| window == part.as_bytes());
        let format = if has("application/epub+zip") {
            Format::Epub
        } else if has("word/") {
            Format::Docx
        } else if has("opendocument.text") {
            Format::Odt
        } else {
            return Err(ErrorKind::NotADocument("a damaged ZIP archive".into()));
        };
        return Err(damaged(format));
    };
    let has = |name: &str| zip.index_for_name(name).is_some();
    let instead = |what: &str, instead: &str| {
        Err(ErrorKind::Unsupported { what: what.into(), instead: instead.into() })
    };
    if has("META-INF/container.xml") {
        return Ok(Format::Epub);
    }
    if has("[Content_Types].xml") {
        let holds = |folder: &str| zip.file_names().flatten().any(|name| name.starts_with(folder));
        return match () {
            () if holds("word/") => Ok(Format::Docx),
            () if holds("xl/") => instead("a table of Excel", "save it as CSV"),
            () if holds("ppt/") => instead("a presentation of PowerPoint", "save it as PDF"),
            () => instead("an Office file", "save it as .docx or PDF"),
        };
    }
    if has("content.xml") {
        let mut archive = Archive { zip, left: 1 << 10, limit: 1 << 10, format: Format::Odt };
        let kind = archive.file("mimetype").unwrap_or_default();
        let kind = String::from_utf8_lossy(&kind).into_owned();
        return match kind.trim().rsplit('.').next().unwrap_or_default() {
            "spreadsheet" => instead("a table of OpenDocument", "save it as CSV"),
            "presentation" => instead("a presentation of OpenDocument", "save it as PDF"),
            "graphics" => instead("a drawing of OpenDocument", "save it as PDF"),
            _ => Ok(Format::Odt),
        };
    }
    Err(ErrorKind::NotADocument("a ZIP archive".into()))
}

impl<'a> Archive<'a> {
    /// Opens an archive whose files may unpack to `limit` bytes together.
    pub(crate) fn new(bytes: &'a [u8], format: Format, limit: u64) -> Result<Self, ErrorKind> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|_| damaged(format))?;
        Ok(Self { zip, left: limit, limit, format })
    }

    /// Unpacks a file that must exist.
    pub(crate) fn file(&mut self, name: &str) -> Result<Vec<u8>, ErrorKind> {
        let format = self.format;
        let missing = || ErrorKind::damaged(format, format!("it has no '{name}'"));
        self.file_if_there(name)?.ok_or_else(missing)
    }

    /// Unpacks a file; `None` if it does not exist.
    pub(crate) fn file_if_there(&mut self, name: &str) -> Result<Option<Vec<u8>>, ErrorKind> {
        let format = self.format;
        let broken = |error: &dyn std::fmt::Display| {
            ErrorKind::damaged(format, format!("'{name}' in it cannot be unpacked: {error}"))
        };
        let file = match self.zip.by_name(name) {
            Ok(file) => file,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED)) => {
                return Err(ErrorKind::Encrypted);
            }
            Err(error) => return Err(broken(&error)),
        };
        // Does not trust the size that the archive claims.
        let mut bytes = Vec::new();
        file.take(self.left + 1).read_to_end(&mut bytes).map_err(|error| broken(&error))?;
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => self.left = left,
            None => {
                let what = "what it unpacks to".into();
                return Err(ErrorKind::TooLarge { what, limit: self.limit });
            }
        }
        Ok(Some(bytes))
    }
}

fn damaged(format: Format) -> ErrorKind {
    ErrorKind::damaged(format, "its archive is cut or damaged")
}
