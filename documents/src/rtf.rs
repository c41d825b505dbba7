//! Rich Text Format.

use std::collections::HashMap;

use encoding_rs::{Encoding, WINDOWS_1252};

use crate::builder::{Builder, single_spaced};
use crate::document::{Format, Section};
use crate::error::ErrorKind;
use crate::paragraphs::{Kind, Paragraphs};

/// Limit of nested groups. No program nests them so deep.
const MAX_DEPTH: usize = 10_000;

/// Destinations that are not the text of the document.
const LEFT_OUT: [&str; 29] = [
    "annotation",
    "atnauthor",
    "atnid",
    "bkmkend",
    "bkmkstart",
    "blipuid",
    "colortbl",
    "datastore",
    "fldinst",
    "fontemb",
    "footer",
    "footerf",
    "footerl",
    "footerr",
    "footnote",
    "generator",
    "header",
    "headerf",
    "headerl",
    "headerr",
    "latentstyles",
    "listoverridetable",
    "listtable",
    "nonshppict",
    "object",
    "pict",
    "revtbl",
    "themedata",
    "xmlnstbl",
];

/// Destination of a group's content.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Destination {
    Text,
    Title,
    Fonts,
    Styles,
    /// Information about the document, except its title.
    Nothing,
}

#[derive(Clone)]
struct Group {
    destination: Destination,
    encoding: &'static Encoding,
    /// Number of bytes that represent a Unicode character for old programs.
    fallback: usize,
    is_hidden: bool,
}

/// Title and sections.
pub(crate) fn read(
    bytes: &[u8],
    limit: usize,
) -> Result<(Option<String>, Option<Vec<Section>>), ErrorKind> {
    let mut builder = Builder::new(limit);
    let mut reader = Reader::new(&mut builder);
    reader.read(bytes)?;
    let title = single_spaced(&reader.title);
    let titled = reader.paragraphs.finish()?;
    let title = titled.or(Some(title).filter(|title| !title.is_empty()));
    Ok((title, builder.finish()))
}

struct Reader<'b> {
    paragraphs: Paragraphs<'b>,
    title: String,
    groups: Vec<Group>,
    now: Group,
    /// Code page of the document.
    encoding: &'static Encoding,
    fonts: HashMap<i32, &'static Encoding>,
    /// Paragraph kinds by the numbers of styles.
    styles: HashMap<i32, Kind>,
    /// Number of the font or style that is being defined.
    entry: i32,
    style_name: String,
    /// Bytes of text that are not decoded yet. A letter may have two bytes.
    pending: Vec<u8>,
    /// High surrogate of a character above U+FFFF.
    high: Option<u16>,
    /// Number of fallback bytes to skip.
    skip: usize,
    in_table: bool,
}

impl<'b> Reader<'b> {
    fn new(builder: &'b mut Builder) -> Self {
        Self {
            paragraphs: Paragraphs::new(builder),
            title: String::new(),
            groups: Vec::new(),
            now: Group {
                destination: Destination::Text,
                encoding: WINDOWS_1252,
                fallback: 1,
                is_hidden: false,
            },
            encoding: WINDOWS_1252,
            fonts: HashMap::new(),
            styles: HashMap::new(),
            entry: 0,
            style_name: String::new(),
            pending: Vec::new(),
            high: None,
            skip: 0,
            in_table: false,
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.paragraphs.begin(Kind::Body)?;
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'{' => {
                    self.flush();
                    if self.groups.len() >= MAX_DEPTH {
                        return Err(ErrorKind::damaged(Format::Rtf, "its groups nest too deeply"));
                    }
                    self.groups.push(self.now.clone());
                }
                b'}' => {
                    self.flush();
                    self.end_entry();
                    self.skip = 0;
                    match self.groups.pop() {
                        Some(group) => self.now = group,
                        None => break,
                    }
                    if self.groups.is_empty() {
                        // Ignores bytes after the document.
                        return Ok(());
                    }
                }
                b'\\' => at = self.control(bytes, at)?,
                b'\r' | b'\n' | 0 => {}
                byte => self.byte(*byte),
            }
        }
        self.flush();
        if self.groups.is_empty() {
            return Ok(());
        }
        Err(ErrorKind::damaged(Format::Rtf, "it is cut: its last group has no end"))
    }

    /// Reads a control that begins with a backslash at `at`. Returns its end.
    fn control(&mut self, bytes: &[u8], at: usize) -> Result<usize, ErrorKind> {
        let rest = &bytes[at..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        if length == 0 {
            return Ok(self.symbol(rest, at));
        }
        let word = std::str::from_utf8(&rest[..length]).unwrap_or_default();
        let is_negative = rest.get(length) == Some(&b'-');
        let digits = &rest[length + usize::from(is_negative)..];
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = std::str::from_utf8(&digits[..count]).ok().and_then(|it| it.parse().ok());
        let number: Option<i32> = number.map(|it: i32| if is_negative { -it } else { it });
        let mut end = at + length;
        if count > 0 {
            end += count + usize::from(is_negative);
        }
        end += usize::from(bytes.get(end) == Some(&b' '));
        if word == "bin" {
            let count = number.and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
            return Ok(end.saturating_add(count).min(bytes.len()));
        }
        self.word(word, number)?;
        Ok(end)
    }

    /// Reads a control symbol.
    fn symbol(&mut self, rest: &[u8], at: usize) -> usize {
        match rest.first() {
            Some(b'\'') => {
                let digits = rest.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
                if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    self.byte(byte);
                }
                at + rest.len().min(3)
            }
            // A destination that readers may skip if they do not know it.
            Some(b'*') => {
                let word = rest.get(1..).unwrap_or_default();
                let is_known = word.starts_with(b"\\fldinst") || word.starts_with(b"\\shppict");
                if !word.starts_with(b"\\cs") || is_known {
                    self.now.destination = Destination::Nothing;
                }
                at + 1
            }
            Some(b'~') => self.symbol_text("\u{a0}", at),
            Some(b'_') => self.symbol_text("-", at),
            Some(b'\r' | b'\n') => {
                // An escaped line end is a paragraph end.
                let _ = self.word("par", None);
                at + 1
            }
            Some(byte @ (b'\\' | b'{' | b'}')) => {
                self.byte(*byte);
                at + 1
            }
            _ => at + usize::from(!rest.is_empty()),
        }
    }

    fn symbol_text(&mut self, text: &str, at: usize) -> usize {
        self.text(text);
        at + 1
    }

    fn word(&mut self, word: &str, number: Option<i32>) -> Result<(), ErrorKind> {
        self.flush();
        if self.skip > 0 && !matches!(word, "u") {
            self.skip -= 1;
            return Ok(());
        }
        if LEFT_OUT.contains(&word) {
            self.now.destination = Destination::Nothing;
            return Ok(());
        }
        let is_text = self.now.destination == Destination::Text;
        match word {
            "ansicpg" => {
                self.encoding = code_page(number.unwrap_or(1252));
                self.now.encoding = self.encoding;
            }
            "mac" => self.set_encoding(encoding_rs::MACINTOSH),
            "fonttbl" => self.now.destination = Destination::Fonts,
            "stylesheet" => self.now.destination = Destination::Styles,
            "info" => self.now.destination = Destination::Nothing,
            "title" if self.groups.len() < 4 => self.now.destination = Destination::Title,
            "f" => match self.now.destination {
                Destination::Fonts => self.entry = number.unwrap_or(0),
                _ => {
                    let font = self.fonts.get(&number.unwrap_or(0));
                    self.now.encoding = font.copied().unwrap_or(self.encoding);
                }
            },
            "fcharset" => {
                let encoding = charset(number.unwrap_or(0)).unwrap_or(self.encoding);
                self.fonts.insert(self.entry, encoding);
            }
            "s" => match self.now.destination {
                Destination::Styles => self.entry = number.unwrap_or(0),
                _ => {
                    let kind = self.styles.get(&number.unwrap_or(0)).copied();
                    self.paragraphs.set_kind(kind.unwrap_or(Kind::Body));
                }
            },
            "outlinelevel" if is_text && number.is_some_and(|level| level < 9) => {
                self.paragraphs.set_kind(Kind::Heading);
            }
            "pard" if is_text => self.paragraphs.set_kind(Kind::Body),
            "plain" => {
                self.now.is_hidden = false;
                self.now.encoding = self.encoding;
            }
            "v" => self.now.is_hidden = number != Some(0),
            "deleted" => self.now.is_hidden = number != Some(0),
            "uc" => self.now.fallback = usize::try_from(number.unwrap_or(1)).unwrap_or(1).min(64),
            "u" => self.unicode(number.unwrap_or(0)),
            "intbl" if is_text => self.in_table = true,
            "par" | "sect" | "page" | "column" if is_text => {
                if self.in_table {
                    self.text("\n");
                } else {
                    self.paragraphs.end()?;
                    self.paragraphs.begin(Kind::Body)?;
                }
            }
            "cell" | "nestcell" => self.text("\t"),
            "row" | "nestrow" if is_text => {
                self.in_table = false;
                self.paragraphs.end()?;
                self.paragraphs.begin(Kind::Body)?;
            }
            "line" | "softline" => self.text("\n"),
            "tab" => self.text("\t"),
            "emdash" => self.text("—"),
            "endash" => self.text("–"),
            "lquote" => self.text("‘"),
            "rquote" => self.text("’"),
            "ldblquote" => self.text("“"),
            "rdblquote" => self.text("”"),
            "bullet" => self.text("•"),
            "emspace" | "enspace" | "qmspace" => self.text(" "),
            _ => {}
        }
        Ok(())
    }

    fn set_encoding(&mut self, encoding: &'static Encoding) {
        self.encoding = encoding;
        self.now.encoding = encoding;
    }

    /// Adds a UTF-16 code unit. Negative numbers are the upper half.
    fn unicode(&mut self, number: i32) {
        self.skip = self.now.fallback;
        let unit = number as u16;
        let units = match self.high.take() {
            Some(high) => vec![high, unit],
            None if (0xd800..0xdc00).contains(&unit) => {
                self.high = Some(unit);
                return;
            }
            None => vec![unit],
        };
        let text = char::decode_utf16(units).filter_map(Result::ok);
        let text: String = text.filter(|character| !character.is_control()).collect();
        self.text(&text);
    }

    fn byte(&mut self, byte: u8) {
        if self.skip > 0 {
            self.skip -= 1;
        } else {
            self.pending.push(byte);
        }
    }

    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.pending);
        let text = self.now.encoding.decode_without_bom_handling(&bytes).0.into_owned();
        self.text(&text);
    }

    fn text(&mut self, text: &str) {
        match self.now.destination {
            Destination::Text if !self.now.is_hidden => self.paragraphs.text(text),
            Destination::Title => self.title.push_str(text),
            Destination::Styles => {
                for part in text.split_inclusive(';') {
                    self.style_name.push_str(part.trim_end_matches(';'));
                    if part.ends_with(';') {
                        self.end_entry();
                    }
                }
            }
            _ => {}
        }
    }

    /// Ends the line of a style.
    fn end_entry(&mut self) {
        if self.now.destination == Destination::Styles && !self.style_name.is_empty() {
            let name = std::mem::take(&mut self.style_name).trim().to_lowercase();
            if let Some(kind) = Kind::of_style(&name) {
                self.styles.insert(self.entry, kind);
            }
        }
    }
}

/// The encoding of a Windows code page.
fn code_page(number: i32) -> &'static Encoding {
    let label = match number {
        932 => "shift_jis".into(),
        936 => "gbk".into(),
        949 => "euc-kr".into(),
        950 => "big5".into(),
        866 => "ibm866".into(),
        10000 => "macintosh".into(),
        65001 => "utf-8".into(),
        number => format!("windows-{number}"),
    };
    Encoding::for_label(label.as_bytes()).unwrap_or(WINDOWS_1252)
}

/// The encoding of a font's character set.
fn charset(number: i32) -> Option<&'static Encoding> {
    Some(code_page(match number {
        0 => 1252,
        77 => 10000,
        128 => 932,
        129 => 949,
        134 => 936,
        136 => 950,
        161 => 1253,
        162 => 1254,
        163 => 1258,
        177 => 1255,
        178 => 1256,
        186 => 1257,
        204 => 1251,
        222 => 874,
        238 => 1250,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::error::ErrorKind;

    fn text(rtf: &[u8]) -> String {
        let (_, sections) = read(rtf, 1 << 20).unwrap();
        let sections = sections.unwrap_or_default();
        let parts = sections.iter().flat_map(|it| it.heading.iter().chain([&it.text]));
        parts.map(String::as_str).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn letters_of_every_kind() {
        assert_eq!(
            text(br"{\rtf1\ansi\ansicpg1252 caf\'e9 \u8364? \u-10179?\u-8704? \{a\}\par b}"),
            "café € 😀 {a}\n\nb"
        );
        assert_eq!(
            text(br"{\rtf1\ansi{\fonttbl{\f0\fcharset204 A;}}\f0 \'ec\'ee\'f1\'f2}"),
            "мост"
        );
        assert_eq!(text(br"{\rtf1\ansi{\fonttbl{\f1\fcharset128 A;}}\f1 \'8b\'b4}"), "橋");
        assert_eq!(text(br"{\rtf1\uc2 \u8364??x\uc0\u8364 y}"), "€x€y");
    }

    #[test]
    fn what_is_not_text_is_left_out() {
        let rtf = br"{\rtf1{\info{\title T}{\author A}}{\*\generator x;}{\pict\bin3 {{{}{\v no}yes
{\field{\*\fldinst HYPERLINK x}{\fldrslt link}}{\footnote no}}";
        let (title, _) = read(rtf, 1 << 20).unwrap();
        assert_eq!(title.as_deref(), Some("T"));
        assert_eq!(text(rtf), "yeslink");
    }

    #[test]
    fn styles_make_headings() {
        let rtf = br"{\rtf1{\stylesheet{\s0 Normal;}{\s1 heading 1;}}\pard\s1 Head\par\pard One\par
\trowd\intbl a\cell b\cell\row\pard Two\par}";
        assert_eq!(text(rtf), "Head|One\n\na\tb\n\nTwo");
    }

    #[test]
    fn damage_is_told() {
        assert!(matches!(read(br"{\rtf1 cut", 100), Err(ErrorKind::Damaged { .. })));
        let deep = [br"{\rtf1 ".as_slice(), &b"{".repeat(1_000_000)].concat();
        assert!(matches!(read(&deep, 100), Err(ErrorKind::Damaged { .. })));
        for rtf in [&br"{\rtf1 \"[..], br"{\rtf1 \'", br"{\rtf1 \'4", br"{\rtf1\bin99999999999 x}"]
        {
            let _ = read(rtf, 100);
        }
    }
}
