//! Fonts: the letters of a string, and their widths.

mod code;
mod composite;
mod encoding;
mod names;
mod simple;
mod standard;
mod type1;

use hayro_syntax::object::{Dict, Name};

pub(super) use code::Code;
use composite::Composite;
use simple::Simple;

/// A font of a document.
pub(super) struct Font {
    kind: Kind,
    is_bold: bool,
    /// Height relative to the font size. It differs from 1 only for Type 3.
    height: f64,
}

enum Kind {
    /// A font with one byte per letter.
    Simple(Box<Simple>),
    /// A font with one to four bytes per letter.
    Composite(Box<Composite>),
}

impl Font {
    pub(super) fn new(dict: &Dict<'_>) -> Option<Self> {
        let subtype = dict.get::<Name<'_>>(b"Subtype")?;
        let descendant = composite::descendant(dict);
        let descriptor = dict.get::<Dict<'_>>(b"FontDescriptor");
        let descriptor =
            descriptor.or_else(|| descendant.as_ref()?.get::<Dict<'_>>(b"FontDescriptor"));
        let name = base_font(dict);
        let is_bold = is_bold(&name, descriptor.as_ref());
        let is_type3 = subtype.as_ref() == b"Type3";
        // Type 3 fonts have their own scale, which widths use.
        let matrix = dict.get::<[f64; 6]>(b"FontMatrix").filter(|_| is_type3);
        let scale = matrix.map_or(0.001, |matrix| matrix[0].abs());
        let height = match dict.get::<[f64; 4]>(b"FontBBox").filter(|_| is_type3) {
            // A bitmap font is drawn at any size. Its bounding box gives the height.
            Some([_, low, _, high]) if high > low => {
                ((high - low) * matrix.map_or(0.001, |matrix| matrix[3].abs())).clamp(0.1, 10.0)
            }
            _ => 1.0,
        };
        let kind = if subtype.as_ref() == b"Type0" {
            Kind::Composite(Box::new(Composite::new(dict, descendant.as_ref())?))
        } else {
            Kind::Simple(Box::new(Simple::new(dict, descriptor.as_ref(), &name, scale)))
        };
        Some(Self { kind, is_bold, height })
    }

    /// The letters of a string.
    pub(super) fn codes<'a>(&'a self, bytes: &'a [u8]) -> Box<dyn Iterator<Item = Code<'a>> + 'a> {
        match &self.kind {
            Kind::Simple(font) => Box::new(bytes.iter().map(|byte| font.code(*byte))),
            Kind::Composite(font) => Box::new(font.codes(bytes)),
        }
    }

    pub(super) fn is_bold(&self) -> bool {
        self.is_bold
    }

    pub(super) fn height(&self) -> f64 {
        self.height
    }

    /// Whether lines run vertically.
    pub(super) fn is_vertical(&self) -> bool {
        matches!(&self.kind, Kind::Composite(font) if font.is_vertical())
    }
}

/// The name of a font, without the prefix of a subset.
fn base_font(dict: &Dict<'_>) -> String {
    let name = dict.get::<Name<'_>>(b"BaseFont");
    let name = name.map(|name| String::from_utf8_lossy(name.as_ref()).into_owned());
    let name = name.unwrap_or_default();
    match name.split_once('+') {
        Some((tag, rest)) if tag.len() == 6 => rest.to_owned(),
        _ => name,
    }
}

fn is_bold(name: &str, descriptor: Option<&Dict<'_>>) -> bool {
    const FORCE_BOLD: u32 = 1 << 18;
    let flags = descriptor.and_then(|it| it.get::<u32>(b"Flags")).unwrap_or(0);
    let weight = descriptor.and_then(|it| it.get::<f32>(b"FontWeight")).unwrap_or(0.0);
    let name = name.to_lowercase();
    let is_named = ["bold", "black", "heavy", "-medi", "demi", "cmbx", "cmssbx", "sfbx", "ecbx"]
        .iter()
        .any(|part| name.contains(part));
    is_named || flags & FORCE_BOLD != 0 || weight >= 600.0
}
