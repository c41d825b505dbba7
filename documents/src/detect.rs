//! Detects the format of a file from its content.

use crate::document::Format;
use crate::encoding;
use crate::error::ErrorKind;

/// Number of bytes at the start of a file that are examined.
const HEAD: usize = 1 << 16;

/// Result of the detection.
pub(crate) enum Found {
    /// A supported format.
    Format(Format),
    /// An archive. Its entries tell its format.
    Zip,
    /// An empty file, or only white space.
    Empty,
    /// Not a supported format, with the reason.
    Other(ErrorKind),
}

/// First bytes of files that are not documents.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"\x89PNG\r\n", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"II*\0", "a picture (TIFF)"),
    (b"MM\0*", "a picture (TIFF)"),
    (b"RIFF", "a sound, a film or a picture (RIFF)"),
    (b"\0\0\0\x18ftyp", "a film (MP4)"),
    (b"\0\0\0\x1cftyp", "a film (MP4)"),
    (b"\0\0\0 ftyp", "a film (MP4)"),
    (b"\x1aE\xdf\xa3", "a film (Matroska)"),
    (b"ID3", "a sound (MP3)"),
    (b"OggS", "a sound (Ogg)"),
    (b"fLaC", "a sound (FLAC)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"(\xb5/\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\0", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"SQLite format 3\0", "a database (SQLite)"),
];

/// Detects the format from the first [`HEAD`] bytes. `name` decides between formats with similar
/// content: plain text, Markdown and tables.
pub(crate) fn detect(bytes: &[u8], name: Option<&str>) -> Found {
    let head = &bytes[..bytes.len().min(HEAD)];
    if let Some(found) = by_signature(head) {
        return found;
    }
    let Some(text) = encoding::decode(whole_characters(head)) else {
        return Found::Other(ErrorKind::NotADocument("binary data".into()));
    };
    let is_whole = head.len() == bytes.len();
    if is_whole && text.trim().is_empty() {
        return Found::Empty;
    }
    Found::Format(by_text(&text, name))
}

fn by_signature(head: &[u8]) -> Option<Found> {
    // All readers skip bytes before the header of a PDF.
    let start = &head[..head.len().min(1024)];
    if start.windows(5).any(|window| window == b"%PDF-") {
        return Some(Found::Format(Format::Pdf));
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Some(Found::Zip);
    }
    if head.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return Some(Found::Other(compound_file(head)));
    }
    if head.trim_ascii_start().starts_with(b"{\\rtf") {
        return Some(Found::Format(Format::Rtf));
    }
    let (_, what) = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature))?;
    Some(Found::Other(ErrorKind::NotADocument((*what).into())))
}

/// The container of old Office files, and of new ones with a password.
fn compound_file(head: &[u8]) -> ErrorKind {
    let stream: Vec<u8> = "EncryptedPackage".bytes().flat_map(|byte| [byte, 0]).collect();
    // The directory of the file may be anywhere. In such a small file it is mostly near the start.
    if head.windows(stream.len()).any(|window| window == stream) {
        return ErrorKind::Encrypted;
    }
    ErrorKind::Unsupported {
        what: "an Office file of before 2007".into(),
        instead: "save it as .docx".into(),
    }
}

/// The bytes without an incomplete UTF-8 character at the end.
fn whole_characters(head: &[u8]) -> &[u8] {
    match std::str::from_utf8(head) {
        Err(error) if error.error_len().is_none() => &head[..error.valid_up_to()],
        _ => head,
    }
}

fn by_text(text: &str, name: Option<&str>) -> Format {
    let extension = name.and_then(|name| name.rsplit_once('.')).map(|(_, it)| it.to_lowercase());
    let extension = extension.as_deref().unwrap_or_default();
    if is_html(text) {
        Format::Html
    } else if is_subtitles(text) {
        Format::Subtitles
    } else if is_email(text) {
        Format::Email
    } else if is_json(text, extension) {
        Format::JsonLines
    } else if is_table(text, extension) {
        Format::Csv
    } else if matches!(extension, "md" | "markdown") || is_markdown(text) {
        Format::Markdown
    } else {
        Format::PlainText
    }
}

/// Whether it is a page of HTML: it begins with its document type or a tag, after comments and an
/// XML declaration.
fn is_html(text: &str) -> bool {
    let mut rest = text.trim_start();
    loop {
        let end = if rest.starts_with("<!--") {
            rest.find("-->").map(|at| at + 3)
        } else if rest.starts_with("<?") {
            rest.find("?>").map(|at| at + 2)
        } else {
            break;
        };
        let Some(end) = end else { return false };
        rest = rest[end..].trim_start();
    }
    let Some(tag) = rest.strip_prefix('<') else { return false };
    let tag = tag.strip_prefix('!').unwrap_or(tag);
    let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
    let name = name.to_lowercase();
    let is_root = match name.as_str() {
        "doctype" => tag[name.len()..].trim_start().to_lowercase().starts_with("html"),
        name => matches!(name, "html" | "head" | "body" | "title" | "meta" | "link" | "script"),
    };
    // A fragment from editors or feeds has end tags.
    let is_fragment = matches!(
        name.as_str(),
        "article" | "main" | "section" | "div" | "p" | "h1" | "h2" | "table" | "ul" | "ol" | "span"
    ) && text.to_lowercase().contains(&format!("</{name}>"));
    is_root || is_fragment
}

/// Whether it is subtitles: WebVTT begins with its name, SubRip with a number and a line of times.
fn is_subtitles(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix("WEBVTT") {
        return rest.is_empty() || rest.starts_with([' ', '\t', '\n']);
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let number = lines.next().unwrap_or_default();
    let times = lines.next().unwrap_or_default();
    let is_time = |time: &str| {
        let time = time.trim();
        time.contains(':') && time.starts_with(|first: char| first.is_ascii_digit())
    };
    number.bytes().all(|byte| byte.is_ascii_digit())
        && times.split_once("-->").is_some_and(|(from, to)| is_time(from) && is_time(to))
}

/// Whether it is an e-mail: it begins with header fields, at least two of which every mail program
/// writes.
fn is_email(text: &str) -> bool {
    const KNOWN: [&str; 11] = [
        "from",
        "to",
        "date",
        "subject",
        "received",
        "message-id",
        "mime-version",
        "return-path",
        "delivered-to",
        "content-type",
        "reply-to",
    ];
    let text = match text.strip_prefix("From ") {
        // Skips the first line of a mailbox.
        Some(rest) => rest.split_once('\n').map_or("", |(_, rest)| rest),
        None => text,
    };
    let mut known = 0;
    let mut is_mail = false;
    for line in text.lines() {
        if line.starts_with([' ', '\t']) && known > 0 {
            continue;
        }
        if line.is_empty() {
            break;
        }
        let Some((name, _)) = line.split_once(':') else { return false };
        if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return false;
        }
        let name = name.to_ascii_lowercase();
        known += usize::from(KNOWN.contains(&name.as_str()));
        is_mail |= matches!(name.as_str(), "from" | "received" | "message-id" | "mime-version");
    }
    known >= 2 && is_mail
}

/// Whether it is JSON objects, one per line, or one array of objects.
fn is_json(text: &str, extension: &str) -> bool {
    let start = text.trim_start();
    if matches!(extension, "jsonl" | "ndjson") && start.starts_with('{') {
        return true;
    }
    let mut lines = start.lines();
    let first = lines.next().unwrap_or_default();
    let is_object = |line: &str| {
        let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line);
        object.is_ok_and(|object| !object.is_empty())
    };
    if is_object(first) {
        return true;
    }
    let compact: String = start.chars().filter(|it| !it.is_whitespace()).take(3).collect();
    compact == "[{\"" || (compact.starts_with("{\"") && extension == "json")
}

/// Names of a text column, in the order of preference.
pub(crate) const TEXT_COLUMNS: [&str; 14] = [
    "text",
    "document",
    "article",
    "content",
    "body",
    "inputs",
    "input",
    "source",
    "dialogue",
    "transcript",
    "description",
    "message",
    "abstract",
    "review",
];

/// Whether it is a table: a header with a text column and the same number of cells in each line, or
/// the name says so.
fn is_table(text: &str, extension: &str) -> bool {
    let Some(header) = text.lines().find(|line| !line.trim().is_empty()) else { return false };
    let delimiter = delimiter(header);
    let cells = header.split(char::from(delimiter)).map(|cell| cell.trim().trim_matches('"'));
    let cells: Vec<String> = cells.map(str::to_lowercase).collect();
    let is_known = cells.iter().any(|cell| TEXT_COLUMNS.contains(&cell.as_str()));
    let is_named = matches!(extension, "csv" | "tsv" | "tab");
    let has_rows = text.trim().lines().nth(1).is_some();
    // Prose has sentences in its first line.
    let is_header = cells.iter().all(|cell| cell.len() < 64 && !cell.ends_with('.'));
    has_rows && (is_named || (is_known && is_header && cells.len() > 1))
}

/// The character that separates most cells of a header.
pub(crate) fn delimiter(header: &str) -> u8 {
    let count = |delimiter: u8| header.bytes().filter(|byte| *byte == delimiter).count();
    // `max_by_key` takes the last of equals.
    b";|\t,".iter().copied().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',')
}

/// Whether it is Markdown: it has headings between empty lines, and another sign of Markdown.
fn is_markdown(text: &str) -> bool {
    if text.starts_with("#!") {
        return false;
    }
    let lines: Vec<&str> = text.lines().take(2000).collect();
    let is_blank = |at: usize| lines.get(at).is_none_or(|line| line.trim().is_empty());
    let mut headings = 0;
    let mut others = 0;
    for (at, line) in lines.iter().enumerate() {
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        let is_heading = (1..=6).contains(&level) && line[level..].starts_with(' ');
        headings += usize::from(is_heading && is_blank(at + 1) && (at == 0 || is_blank(at - 1)));
        others += usize::from(
            line.starts_with("```")
                || line.contains("](")
                || line.contains("**")
                || line.starts_with("- ")
                || line.starts_with("* "),
        );
    }
    headings >= 2 || (headings == 1 && others > 0)
}

#[cfg(test)]
mod tests {
    use super::{Found, detect};
    use crate::document::Format;

    fn format(text: &str) -> Option<Format> {
        match detect(text.as_bytes(), None) {
            Found::Format(format) => Some(format),
            _ => None,
        }
    }

    #[test]
    fn content_tells_the_format() {
        for (text, expected) in [
            ("A bridge was opened.\nIt is long.\n", Format::PlainText),
            ("# a shell script\necho 1\n# more\necho 2\n", Format::PlainText),
            ("Note: the bridge, which is long, was opened.\n\nTo: nobody.\n", Format::PlainText),
            ("1. First\n2. Second --> third\n", Format::PlainText),
            ("<b> is not a tag of its own here", Format::PlainText),
            ("# Title\n\nText with [a link](x).\n\n## More\n\nText\n", Format::Markdown),
            ("<!DOCTYPE html><html><p>x</p></html>", Format::Html),
            ("<?xml version='1.0'?>\n<!-- x -->\n<html xmlns='x'></html>", Format::Html),
            ("<div><p>A fragment</p></div>", Format::Html),
            ("%PDF-1.7\n", Format::Pdf),
            ("{\\rtf1 x}", Format::Rtf),
            ("1\n00:00:01,000 --> 00:00:02,000\nHello\n", Format::Subtitles),
            ("WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n", Format::Subtitles),
            ("Return-Path: <a@b>\nFrom: a@b\nSubject: x\n\nHello\n", Format::Email),
            ("{\"text\": \"a\"}\n{\"text\": \"b\"}\n", Format::JsonLines),
            ("[\n  {\"text\": \"a\"}\n]\n", Format::JsonLines),
            ("id,text\n1,\"a, b\"\n", Format::Csv),
            ("id\ttext\n1\tb\n", Format::Csv),
        ] {
            assert_eq!(format(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn no_document_is_told() {
        for bytes in [
            &b"\x89PNG\r\n\x1a\n"[..],
            b"\x1f\x8b\x08",
            b"\x7fELF",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        ] {
            assert!(matches!(detect(bytes, None), Found::Other(_)));
        }
        assert!(matches!(detect(b" \n", None), Found::Empty));
    }
}
