//! The letters that codes stand for.

use std::borrow::Cow;

use hayro_cmap::{BfString, CMap};
use hayro_syntax::object::{Dict, Stream};

/// A letter of a string.
pub(in crate::pdf) struct Code<'a> {
    pub(in crate::pdf) text: Cow<'a, str>,
    /// Width, in the font's size.
    pub(in crate::pdf) width: f64,
    /// Whether it is a space of one byte.
    pub(in crate::pdf) is_space: bool,
}

/// The map to Unicode that a font may carry.
pub(super) fn to_unicode(dict: &Dict<'_>) -> Option<CMap> {
    let stream = dict.get::<Stream<'_>>(b"ToUnicode")?;
    CMap::parse(&stream.decoded_data().ok()?, |_| None)
}

/// The text of a code, unless it is none: some programs map to zero what they do not know.
pub(super) fn lookup(map: &CMap, code: u32) -> Option<String> {
    let text = match map.lookup_bf_string(code)? {
        BfString::Char(character) => character.to_string(),
        BfString::String(text) => text,
    };
    text.chars().any(|it| it != '\0').then_some(text)
}
