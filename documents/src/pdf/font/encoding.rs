//! Named encodings of simple fonts.

use encoding_rs::{MACINTOSH, WINDOWS_1252};
use glyph_names::glyph_name;

/// The upper half of Adobe's standard encoding.
const STANDARD: &[(u8, &str)] = &[
    (0xa1, "exclamdown"),
    (0xa2, "cent"),
    (0xa3, "sterling"),
    (0xa4, "fraction"),
    (0xa5, "yen"),
    (0xa6, "florin"),
    (0xa7, "section"),
    (0xa8, "currency"),
    (0xa9, "quotesingle"),
    (0xaa, "quotedblleft"),
    (0xab, "guillemotleft"),
    (0xac, "guilsinglleft"),
    (0xad, "guilsinglright"),
    (0xae, "fi"),
    (0xaf, "fl"),
    (0xb1, "endash"),
    (0xb2, "dagger"),
    (0xb3, "daggerdbl"),
    (0xb4, "periodcentered"),
    (0xb6, "paragraph"),
    (0xb7, "bullet"),
    (0xb8, "quotesinglbase"),
    (0xb9, "quotedblbase"),
    (0xba, "quotedblright"),
    (0xbb, "guillemotright"),
    (0xbc, "ellipsis"),
    (0xbd, "perthousand"),
    (0xbf, "questiondown"),
    (0xc1, "grave"),
    (0xc2, "acute"),
    (0xc3, "circumflex"),
    (0xc4, "tilde"),
    (0xc5, "macron"),
    (0xc6, "breve"),
    (0xc7, "dotaccent"),
    (0xc8, "dieresis"),
    (0xca, "ring"),
    (0xcb, "cedilla"),
    (0xcd, "hungarumlaut"),
    (0xce, "ogonek"),
    (0xcf, "caron"),
    (0xd0, "emdash"),
    (0xe1, "AE"),
    (0xe3, "ordfeminine"),
    (0xe8, "Lslash"),
    (0xe9, "Oslash"),
    (0xea, "OE"),
    (0xeb, "ordmasculine"),
    (0xf1, "ae"),
    (0xf5, "dotlessi"),
    (0xf8, "lslash"),
    (0xf9, "oslash"),
    (0xfa, "oe"),
    (0xfb, "germandbls"),
];

/// The name of a code's glyph in the encoding `base`, or without one in the standard encoding.
pub(super) fn name(base: Option<&[u8]>, font: &str, code: u8) -> Option<String> {
    let of = |encoding: &'static encoding_rs::Encoding| {
        let bytes = [code];
        let text = encoding.decode_without_bom_handling(&bytes).0;
        let character = text.chars().next().filter(|character| !character.is_control())?;
        glyph_name(character.into()).map(std::borrow::Cow::into_owned)
    };
    match base {
        Some(b"WinAnsiEncoding") => of(WINDOWS_1252),
        Some(b"MacRomanEncoding") => of(MACINTOSH),
        // Pictures that are used as bullets.
        _ if font.contains("Dingbats") || font.contains("Wingdings") => {
            (code > b' ').then(|| "bullet".to_owned())
        }
        _ if font.starts_with("Symbol") => symbol(code),
        _ if code == b'\'' => Some("quoteright".into()),
        _ if code == b'`' => Some("quoteleft".into()),
        _ if code.is_ascii() => of(WINDOWS_1252),
        _ => {
            let found = STANDARD.iter().find(|(standard, _)| *standard == code);
            found.map(|(_, name)| (*name).to_owned())
        }
    }
}

/// The letters and the bullet of the Symbol font.
fn symbol(code: u8) -> Option<String> {
    const GREEK: &str = "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ";
    let letter = |of: &str, at: u8| of.chars().nth(usize::from(at));
    let character = match code {
        b'A'..=b'Z' => letter(GREEK, code - b'A')?,
        b'a'..=b'z' => letter("αβχδεφγηιϕκλμνοπθρστυϖωξψζ", code - b'a')?,
        0xb7 => '•',
        0xae => '→',
        0xb1 => '±',
        0xb4 => '×',
        0xa3 => '≤',
        0xb3 => '≥',
        0xb9 => '≠',
        0xb0 => '°',
        0xd2 | 0xe2 => '®',
        0xd3 | 0xe3 => '©',
        0xd4 | 0xe4 => '™',
        code if code.is_ascii() => char::from(code),
        _ => return None,
    };
    glyph_name(character.into()).map(std::borrow::Cow::into_owned)
}
