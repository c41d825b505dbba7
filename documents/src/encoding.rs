//! Decodes text in any encoding.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

/// Number of bytes from which the encoding is guessed.
const MAX_GUESS_BYTES: usize = 1 << 20;

/// The text of a file; `None` if it is not text. Line ends become `\n`. Control characters other
/// than `\t`, `\n` and `\f` are removed.
///
/// A byte order mark decides the encoding. Otherwise it is UTF-8 if the bytes are valid, UTF-16 if
/// every other byte is zero, or else guessed from the letters.
pub(crate) fn decode(bytes: &[u8]) -> Option<String> {
    decode_declared(bytes, None)
}

/// Like [`decode`], for a file that names its encoding. A byte order mark takes precedence over the
/// name.
pub(crate) fn decode_declared(bytes: &[u8], declared: Option<&[u8]>) -> Option<String> {
    let text = match utf_32(bytes) {
        Some(text) => text.into(),
        None => raw(bytes, declared.and_then(Encoding::for_label)),
    };
    is_text(&text).then(|| cleaned(&text))
}

fn raw<'a>(bytes: &'a [u8], declared: Option<&'static Encoding>) -> Cow<'a, str> {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return encoding.decode_with_bom_removal(bytes).0;
    }
    // Bytes of UTF-16 and ISO-2022-JP may also be valid UTF-8.
    let is_other = bytes.contains(&0) || bytes.windows(2).any(|pair| pair == b"\x1b$");
    if let Some(text) = std::str::from_utf8(bytes).ok().filter(|_| !is_other) {
        return text.into();
    }
    // Uses the declared encoding if the bytes are valid in it. A file whose declaration was
    // readable is not UTF-16.
    if let Some(encoding) = declared.filter(|it| ![UTF_16LE, UTF_16BE].contains(it)) {
        let (text, failed) = encoding.decode_without_bom_handling(bytes);
        if !failed {
            return text;
        }
    }
    guess(bytes).decode_without_bom_handling(bytes).0
}

/// The encoding of bytes that have no byte order mark and are not UTF-8.
fn guess(bytes: &[u8]) -> &'static Encoding {
    let head = &bytes[..bytes.len().min(MAX_GUESS_BYTES)];
    let zeros = |from| head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    // Even Chinese text in UTF-16 has spaces, line ends and digits.
    let is_many = |zeros| zeros * 40 > head.len();
    match (is_many(even), is_many(odd)) {
        (false, true) => return UTF_16LE,
        (true, false) => return UTF_16BE,
        _ => {}
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(head, head.len() == bytes.len());
    // A file that is UTF-8 except for a few bytes is read as UTF-8.
    detector.guess(None, Utf8Detection::Allow)
}

/// UTF-32 with its byte order mark, which the Encoding Standard does not have.
fn utf_32(bytes: &[u8]) -> Option<String> {
    let (mark, rest) = bytes.split_at_checked(4)?;
    let character: fn([u8; 4]) -> u32 = match mark {
        [0xff, 0xfe, 0, 0] => u32::from_le_bytes,
        [0, 0, 0xfe, 0xff] => u32::from_be_bytes,
        _ => return None,
    };
    let words = rest.chunks_exact(4).map(|word| character([word[0], word[1], word[2], word[3]]));
    Some(words.map(|word| char::from_u32(word).unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}

/// Whether there are almost no characters that do not occur in texts.
fn is_text(text: &str) -> bool {
    let mut count = 0_usize;
    let mut odd = 0_usize;
    for character in text.chars() {
        count += 1;
        odd += usize::from(character == char::REPLACEMENT_CHARACTER || is_stray(character));
    }
    odd * 50 <= count
}

fn is_stray(character: char) -> bool {
    // Old texts contain escape sequences of terminals, backspaces and the end-of-file mark of DOS.
    let is_old = matches!(character, '\u{8}' | '\u{1a}' | '\u{1b}');
    character.is_control() && !character.is_whitespace() && !is_old
}

/// The text with `\n` as line end, and without control characters.
fn cleaned(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => {
                if characters.peek() != Some(&'\n') {
                    out.push('\n');
                }
            }
            '\t' | '\n' | '\u{c}' => out.push(character),
            '\u{85}' | '\u{b}' => out.push('\n'),
            '\u{feff}' => {}
            character if character.is_control() => {}
            character => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::decode;

    const TEXT: &str = "Das Übermaß der Gläser über dem Fluß gefällt nicht allen, sagt Müller.";

    #[test]
    fn every_encoding_gives_the_text() {
        let units: Vec<u16> = TEXT.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        let wide = TEXT.chars().flat_map(|c| (c as u32).to_le_bytes());
        let (latin, ..) = encoding_rs::WINDOWS_1252.encode(TEXT);
        for (name, bytes) in [
            ("UTF-8", TEXT.as_bytes().to_vec()),
            ("UTF-8 with a mark", [b"\xef\xbb\xbf", TEXT.as_bytes()].concat()),
            ("UTF-16LE", little.clone()),
            ("UTF-16BE", big.clone()),
            ("UTF-16LE with a mark", [b"\xff\xfe".to_vec(), little].concat()),
            ("UTF-16BE with a mark", [b"\xfe\xff".to_vec(), big].concat()),
            ("UTF-32LE", b"\xff\xfe\0\0".iter().copied().chain(wide).collect()),
            ("Latin-1", latin.to_vec()),
        ] {
            assert_eq!(decode(&bytes).as_deref(), Some(TEXT), "{name}");
        }
    }

    #[test]
    fn languages_are_told_apart() {
        for (encoding, text) in [
            (encoding_rs::WINDOWS_1251, "Вчера вечером в городе открыли новый мост через реку."),
            (encoding_rs::KOI8_R, "Вчера вечером в городе открыли новый мост через реку."),
            (encoding_rs::SHIFT_JIS, "昨日の夜、町では川に架かる新しい橋が開通しました。"),
            (encoding_rs::GBK, "昨天晚上，城里开通了一座横跨河流的新桥。"),
            (encoding_rs::EUC_KR, "어제 저녁 도시에서 강을 가로지르는 새 다리가 개통되었다."),
            (encoding_rs::WINDOWS_1253, "Χθες το βράδυ άνοιξε στην πόλη μια νέα γέφυρα."),
        ] {
            let (bytes, _, failed) = encoding.encode(text);
            assert!(!failed);
            assert_eq!(decode(&bytes).as_deref(), Some(text), "{}", encoding.name());
        }
    }

    #[test]
    fn binary_data_is_no_text() {
        let bytes: Vec<u8> =
            (0..4096_u32).map(|i| (i.wrapping_mul(2654435761) >> 13) as u8).collect();
        assert_eq!(decode(&bytes), None);
        assert_eq!(decode(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0"), None);
    }

    #[test]
    fn line_ends_are_one() {
        assert_eq!(decode(b"a\r\nb\rc\nd\r\n").as_deref(), Some("a\nb\nc\nd\n"));
    }
}
