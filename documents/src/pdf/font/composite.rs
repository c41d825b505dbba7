//! Composite fonts, whose characters have one to four bytes.

use std::borrow::Cow;
use std::collections::HashMap;

use encoding_rs::{BIG5, EUC_JP, EUC_KR, Encoding, GBK, SHIFT_JIS, UTF_16BE};
use hayro_cmap::{CMap, WritingMode};
use hayro_syntax::object::{Array, Dict, Object, Stream};

use super::code::{Code, lookup, to_unicode};

/// A font with character ids (CID).
pub(super) struct Composite {
    codes: Codes,
    is_vertical: bool,
    to_unicode: Option<CMap>,
    /// Widths by character id, in thousandths of the font size.
    widths: HashMap<u32, f64>,
    default_width: f64,
}

/// The encoding of strings.
enum Codes {
    /// Two bytes per character, which are the character id.
    Identity,
    /// A map in the font.
    Map(Box<CMap>),
    /// An encoding that is also used in texts. The character ids are unknown.
    Text(&'static Encoding),
}

/// The font whose characters a composite font uses.
pub(super) fn descendant<'a>(dict: &Dict<'a>) -> Option<Dict<'a>> {
    dict.get::<Array<'_>>(b"DescendantFonts")?.iter::<Dict<'_>>().next()
}

impl Composite {
    pub(super) fn new(dict: &Dict<'_>, descendant: Option<&Dict<'_>>) -> Option<Self> {
        let (codes, is_vertical) = match dict.get::<Object<'_>>(b"Encoding")? {
            Object::Name(name) => named(name.as_ref()),
            Object::Stream(stream) => embedded(&stream)?,
            _ => return None,
        };
        let given = descendant.and_then(|it| it.get::<Array<'_>>(b"W"));
        Some(Self {
            codes,
            is_vertical,
            to_unicode: to_unicode(dict),
            widths: given.map(|given| widths(&given)).unwrap_or_default(),
            default_width: descendant.and_then(|it| it.get::<f64>(b"DW")).unwrap_or(1000.0),
        })
    }

    pub(super) fn is_vertical(&self) -> bool {
        self.is_vertical
    }

    /// The characters of a string.
    pub(super) fn codes<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Code<'a>> + 'a {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let (code, length) = self.next(rest)?;
            let (bytes, after) = rest.split_at(length);
            rest = after;
            Some(self.code(code, bytes))
        })
    }

    /// The code of the next character, and its number of bytes.
    fn next(&self, bytes: &[u8]) -> Option<(u32, usize)> {
        let code = |length: usize| {
            let bytes = bytes.get(..length)?;
            Some(bytes.iter().fold(0_u32, |code, byte| code << 8 | u32::from(*byte)))
        };
        let first = *bytes.first()?;
        let length = match &self.codes {
            Codes::Identity => 2,
            Codes::Map(map) => (1..=4_u8)
                .find(|length| {
                    let code = code(usize::from(*length));
                    code.is_some_and(|code| map.lookup_cid_code(code, *length).is_some())
                })
                .map_or(1, usize::from),
            Codes::Text(encoding) if *encoding == UTF_16BE => 2,
            // Half-width Katakana has one byte, and two bytes in EUC.
            Codes::Text(encoding) if *encoding == SHIFT_JIS => {
                if first < 0x80 || (0xa1..0xe0).contains(&first) { 1 } else { 2 }
            }
            Codes::Text(_) => 1 + usize::from(first >= 0x80),
        };
        let length = length.min(bytes.len());
        Some((code(length)?, length))
    }

    fn code<'a>(&'a self, code: u32, bytes: &[u8]) -> Code<'a> {
        let mapped = self.to_unicode.as_ref().and_then(|map| lookup(map, code));
        let (number, text) = match &self.codes {
            Codes::Identity => (Some(code), mapped),
            Codes::Map(map) => {
                let length = u8::try_from(bytes.len()).unwrap_or(1);
                (map.lookup_cid_code(code, length), mapped)
            }
            Codes::Text(encoding) => {
                let decoded = || encoding.decode_without_bom_handling(bytes).0.into_owned();
                (None, mapped.or_else(|| Some(decoded())))
            }
        };
        let width = number.and_then(|number| self.widths.get(&number));
        let width = width.copied().unwrap_or(self.default_width);
        Code {
            text: Cow::Owned(text.unwrap_or_default()),
            width: if self.is_vertical { 1.0 } else { width / 1000.0 },
            is_space: bytes == b" ",
        }
    }
}

/// A predefined encoding, by its name.
fn named(name: &[u8]) -> (Codes, bool) {
    let is_vertical = name.ends_with(b"-V") || name == b"V";
    let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
    let codes = if has(b"UCS2") || has(b"UTF16") {
        Codes::Text(UTF_16BE)
    } else if has(b"RKSJ") {
        Codes::Text(SHIFT_JIS)
    } else if has(b"GB") {
        Codes::Text(GBK)
    } else if has(b"KSC") {
        Codes::Text(EUC_KR)
    } else if has(b"B5") || has(b"ET") {
        Codes::Text(BIG5)
    } else if has(b"EUC") {
        Codes::Text(EUC_JP)
    } else {
        Codes::Identity
    };
    (codes, is_vertical)
}

fn embedded(stream: &Stream<'_>) -> Option<(Codes, bool)> {
    let map = CMap::parse(&stream.decoded_data().ok()?, |_| None)?;
    let is_vertical = map.metadata().writing_mode == Some(WritingMode::Vertical);
    Some((Codes::Map(Box::new(map)), is_vertical))
}

/// Parses widths in the forms `first [width ...]` and `first last width`.
fn widths(given: &Array<'_>) -> HashMap<u32, f64> {
    let mut widths = HashMap::new();
    let mut numbers: Vec<f64> = Vec::new();
    for part in given.iter::<Object<'_>>() {
        match part {
            Object::Number(number) => numbers.push(number.as_f64()),
            Object::Array(list) => {
                let first = numbers.last().map_or(0, |first| *first as u32);
                let codes = first..=u32::from(u16::MAX);
                widths.extend(codes.zip(list.iter::<f64>()));
                numbers.clear();
            }
            _ => {}
        }
        if let [first, last, width] = numbers[..] {
            let last = (last as u32).min(u16::MAX.into());
            widths.extend((first as u32..=last).map(|code| (code, width)));
            numbers.clear();
        }
    }
    widths
}
