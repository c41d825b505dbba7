//! The text of glyph names.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Names that are missing in the Adobe Glyph List for New Fonts: ligatures, old names, and TeX's.
const OTHERS: &[(&str, &str)] = &[
    ("ff", "ff"),
    ("ffi", "ffi"),
    ("ffl", "ffl"),
    ("fi", "fi"),
    ("fl", "fl"),
    ("ft", "ft"),
    ("Th", "Th"),
    ("tt", "tt"),
    ("st", "st"),
    ("longst", "st"),
    ("nbspace", " "),
    ("nonbreakingspace", " "),
    ("space", " "),
    ("visiblespace", " "),
    ("sfthyphen", "\u{ad}"),
    ("softhyphen", "\u{ad}"),
    ("hyphenchar", "-"),
    ("hyphen", "-"),
    ("middot", "·"),
    ("macron", "¯"),
    ("overscore", "¯"),
    ("dotlessj", "ȷ"),
    ("Tcommaaccent", "Ţ"),
    ("tcommaaccent", "ţ"),
    ("Scedilla", "Ş"),
    ("scedilla", "ş"),
    ("Delta", "Δ"),
    ("Omega", "Ω"),
    ("mu", "µ"),
    ("bar", "|"),
    ("compwordmark", ""),
    ("perthousandzero", ""),
    ("SS", "SS"),
    ("suppress", ""),
    ("dbar", "đ"),
    ("Dbar", "Đ"),
    ("quotesinglleft", "‹"),
    ("negationslash", "̸"),
    ("lscript", "ℓ"),
    ("epsilon1", "ϵ"),
    ("phi1", "ϕ"),
    ("theta1", "ϑ"),
    ("pi1", "ϖ"),
    ("rho1", "ϱ"),
    ("sigma1", "ς"),
    ("triangleright", "▷"),
    ("triangleleft", "◁"),
    ("star", "⋆"),
    ("slurabove", "⌒"),
    ("slurbelow", "⌣"),
    ("vector", "⃗"),
    ("tie", "͡"),
    ("bardbl", "‖"),
    ("openbullet", "◦"),
    ("bigcircle", "◯"),
    ("squaresolid", "■"),
    ("floorleft", "⌊"),
    ("floorright", "⌋"),
    ("ceilingleft", "⌈"),
    ("ceilingright", "⌉"),
    ("angbracketleft", "⟨"),
    ("angbracketright", "⟩"),
    ("backslashbig", "\\"),
    ("radicalbig", "√"),
    ("summationtext", "∑"),
    ("summationdisplay", "∑"),
    ("producttext", "∏"),
    ("productdisplay", "∏"),
    ("integraltext", "∫"),
    ("integraldisplay", "∫"),
    ("prime", "′"),
    ("precedesequal", "⪯"),
    ("followsequal", "⪰"),
    ("similarequal", "≃"),
    ("equivasymptotic", "≍"),
    ("arrowdblright", "⇒"),
];

static LIST: LazyLock<HashMap<&str, char>> = LazyLock::new(|| {
    glyph_names::GLYPH_NAME_PAIRS.iter().map(|(character, name)| (*name, *character)).collect()
});

/// The text of a glyph, by the rules of the Adobe Glyph List Specification.
pub(super) fn text(name: &str) -> Option<String> {
    // The suffix after a point names a variant of the same letter.
    let base = name.split('.').next().filter(|base| !base.is_empty())?;
    let parts: Option<Vec<String>> = base.split('_').map(component).collect();
    parts.map(|parts| parts.concat())
}

fn component(name: &str) -> Option<String> {
    if let Some((_, text)) = OTHERS.iter().find(|(other, _)| *other == name) {
        return Some((*text).to_owned());
    }
    if let Some(character) = LIST.get(name) {
        return Some(character.to_string());
    }
    let hex = |digits: &str| char::from_u32(u32::from_str_radix(digits, 16).ok()?);
    if let Some(digits) = name.strip_prefix("uni").filter(|digits| digits.len() >= 4) {
        let starts = (0..digits.len() / 4).map(|at| at * 4);
        return starts.map(|at| hex(digits.get(at..at + 4)?)).collect();
    }
    let digits = name.strip_prefix('u').filter(|digits| (4..=6).contains(&digits.len()))?;
    hex(digits).map(String::from)
}

/// The text of a glyph whose name only repeats its code, such as `a65` for 65. TeX names the glyphs
/// of bitmap fonts like this, and other programs those of subsets. Only ASCII is the same in all of
/// them.
pub(super) fn repeated_code(name: &str, code: u8) -> Option<String> {
    let digits = name.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
    let is_repeated = digits.len() < name.len() && digits.parse() == Ok(code);
    (is_repeated && code.is_ascii_graphic()).then(|| char::from(code).into())
}

#[cfg(test)]
mod tests {
    use super::{repeated_code, text};

    #[test]
    fn a_name_that_repeats_its_code_is_ascii() {
        assert_eq!(repeated_code("a65", 65).as_deref(), Some("A"));
        assert_eq!(repeated_code("char126", 126).as_deref(), Some("~"));
        for (name, code) in [("a65", 66), ("65", 65), ("a", 97), ("a12", 12), ("a200", 200)] {
            assert_eq!(repeated_code(name, code), None, "{name}");
        }
    }

    #[test]
    fn names_are_letters() {
        for (name, expected) in [
            ("A", Some("A")),
            ("eacute", Some("é")),
            ("ffi", Some("ffi")),
            ("f_f_i", Some("ffi")),
            ("a.sc", Some("a")),
            ("uni20AC0308", Some("\u{20ac}\u{308}")),
            ("u1F600", Some("😀")),
            (".notdef", None),
            ("g123", None),
            ("uniD800", None),
        ] {
            assert_eq!(text(name).as_deref(), expected, "{name}");
        }
    }
}
