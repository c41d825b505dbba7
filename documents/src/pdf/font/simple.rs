//! Simple fonts, with one byte per letter: Type 1, TrueType and Type 3.

use std::borrow::Cow;
use std::collections::HashMap;

use hayro_syntax::object::{Array, Dict, Name, Object, Stream};

use super::code::{Code, lookup, to_unicode};
use super::{encoding, names, standard, type1};

/// Text and width of every byte.
pub(super) struct Simple {
    texts: Vec<String>,
    widths: Vec<f64>,
}

impl Simple {
    pub(super) fn new(
        dict: &Dict<'_>,
        descriptor: Option<&Dict<'_>>,
        name: &str,
        scale: f64,
    ) -> Self {
        let map = to_unicode(dict);
        let names = glyph_names(dict, descriptor, name);
        let text = |code: u8| {
            let named = || {
                let name = names[usize::from(code)].as_deref()?;
                names::text(name).or_else(|| names::repeated_code(name, code))
            };
            let mapped = map.as_ref().and_then(|map| lookup(map, code.into()));
            mapped.or_else(named).unwrap_or_default()
        };
        let texts: Vec<String> = (0..=255).map(text).collect();
        let widths = widths(dict, descriptor, name, scale, &texts);
        Self { texts, widths }
    }

    pub(super) fn code(&self, byte: u8) -> Code<'_> {
        Code {
            text: Cow::Borrowed(&self.texts[usize::from(byte)]),
            width: self.widths[usize::from(byte)],
            is_space: byte == b' ',
        }
    }
}

/// The name of each code's glyph: from the differences, the named encoding, or the font itself.
fn glyph_names(dict: &Dict<'_>, descriptor: Option<&Dict<'_>>, font: &str) -> Vec<Option<String>> {
    let mut base = dict.get::<Name<'_>>(b"Encoding").map(|name| name.as_ref().to_vec());
    let mut differences = HashMap::new();
    if let Some(encoding) = dict.get::<Dict<'_>>(b"Encoding") {
        base = encoding.get::<Name<'_>>(b"BaseEncoding").map(|name| name.as_ref().to_vec());
        let mut code = 0_i64;
        let entries = encoding.get::<Array<'_>>(b"Differences");
        for entry in entries.iter().flat_map(Array::iter::<Object<'_>>) {
            match entry {
                Object::Number(number) => code = number.as_i64(),
                Object::Name(name) => {
                    let name = String::from_utf8_lossy(name.as_ref()).into_owned();
                    if let Ok(code) = u8::try_from(code) {
                        differences.insert(code, name);
                    }
                    code = code.saturating_add(1);
                }
                _ => {}
            }
        }
    }
    let own = if base.is_none() { own_encoding(descriptor) } else { None };
    let name = |code: u8| {
        let own = || own.as_ref()?.get(&code).cloned();
        let named = || encoding::name(base.as_deref(), font, code);
        differences.get(&code).cloned().or_else(own).or_else(named)
    };
    (0..=255).map(name).collect()
}

/// The encoding in the font program.
fn own_encoding(descriptor: Option<&Dict<'_>>) -> Option<HashMap<u8, String>> {
    let program = descriptor?.get::<Stream<'_>>(b"FontFile")?;
    type1::encoding(&program.decoded_data().ok()?)
}

fn widths(
    dict: &Dict<'_>,
    descriptor: Option<&Dict<'_>>,
    name: &str,
    scale: f64,
    texts: &[String],
) -> Vec<f64> {
    let missing = descriptor.and_then(|it| it.get::<f64>(b"MissingWidth")).unwrap_or(0.0);
    let mut widths = vec![missing * scale; 256];
    match dict.get::<Array<'_>>(b"Widths") {
        Some(given) => {
            let first = dict.get::<usize>(b"FirstChar").unwrap_or(0);
            for (code, width) in (first..256).zip(given.iter::<f64>()) {
                widths[code] = width * scale;
            }
        }
        None => {
            for (width, text) in widths.iter_mut().zip(texts) {
                *width = standard::width(name, text) * scale;
            }
        }
    }
    widths
}
