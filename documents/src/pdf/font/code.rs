//! The text of character codes.

use std::borrow::Cow;

use hayro_cmap::{BfString, CMap};
use hayro_syntax::object::{Dict, Stream};

/// A character of a string.
pub(in crate::pdf) struct Code<'a> {
    pub(in crate::pdf) text: Cow<'a, str>,
    /// Width relative to the font size.
    pub(in crate::pdf) width: f64,
    /// Whether it is a single-byte space.
    pub(in crate::pdf) is_space: bool,
}

/// The map to Unicode in a font, if there is one.
pub(super) fn to_unicode(dict: &Dict<'_>) -> Option<CMap> {
    let stream = dict.get::<Stream<'_>>(b"ToUnicode")?;
    CMap::parse(&stream.decoded_data().ok()?, |_| None)
}

/// The text of a code, unless it is empty. Some programs map unknown codes to zero.
pub(super) fn lookup(map: &CMap, code: u32) -> Option<String> {
    let text = match map.lookup_bf_string(code)? {
        BfString::Char(character) => character.to_string(),
        BfString::String(text) => text,
    };
    text.chars().any(|it| it != '\0').then_some(text)
}
