//! SentencePiece's normalization, for the tokenizers that use SentencePiece itself (Marian,
//! M2M-100, PLBART, BARTpho).
//!
//! This module implements `Normalizer::Normalize` of SentencePiece's `src/normalizer.cc`. The
//! `tokenizers` library has the normalizer `Precompiled` for the same table. `Precompiled` looks up
//! graphemes and takes the shortest match. SentencePiece takes the longest match at each position.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokenizers::{NormalizedString, Normalizer};

use super::charsmap::CharsMap;

/// SentencePiece's character for a space.
const SPACE: char = '▁';
/// Precedes a language code at the beginning of a normalized text. No text has this noncharacter,
/// so the same characters elsewhere are not taken for a code.
pub const CODE_MARK: char = '\u{fdd0}';

/// The normalizer of a SentencePiece model, `NormalizerSpec` in `src/sentencepiece_model.proto`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SentencePiece")]
pub struct SentencePieceNormalizer {
    /// The table of replacements; none where the model replaces no character.
    #[serde(default, serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub precompiled_charsmap: Option<CharsMap>,
    /// Whether a space is added before the text.
    pub add_dummy_prefix: bool,
    /// Whether runs of spaces are joined, and spaces at both ends removed.
    pub remove_extra_whitespaces: bool,
    /// Language codes (`>>fra<<`) that may begin a text. An unknown code there becomes the unknown
    /// token. Absent where the tokenizer has no codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_codes: Option<LanguageCodes>,
}

/// Marian's language codes: `remove_language_code` of transformers' `tokenization_marian.py`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageCodes {
    /// Codes in the vocabulary.
    pub known: Vec<String>,
    /// Replacement of any other code.
    pub unknown: String,
}

impl LanguageCodes {
    /// The normalized code at the beginning of a text, and the code's length in the text in bytes.
    fn prefix_of<'a>(&'a self, text: &'a str) -> Option<(String, usize)> {
        let end = text.strip_prefix(">>")?.find("<<")? + ">><<".len();
        let code = &text[..end];
        let known = self.known.iter().any(|known| known == code);
        let normalized = match known {
            true => format!("{CODE_MARK}{code}"),
            false => self.unknown.clone(),
        };
        Some((normalized, end))
    }
}

/// A normalized text, in the format of [`NormalizedString::transform`]. Each character has a
/// number: 1 for an added character and 0 for a replaced one, less 1 for each character of the
/// original that is removed behind it.
#[derive(Default)]
struct Output {
    characters: Vec<(char, isize)>,
    /// Characters of the original that were removed at its beginning.
    removed_first: usize,
}

impl Output {
    /// Replaces the next `old` characters of the original by `new`.
    fn replace(&mut self, mut old: usize, new: impl Iterator<Item = char>) {
        for character in new {
            let change = isize::from(old == 0);
            old = old.saturating_sub(1);
            self.characters.push((character, change));
        }
        self.remove(old as isize);
    }

    fn remove(&mut self, count: isize) {
        match self.characters.last_mut() {
            Some((_, change)) => *change -= count,
            None => self.removed_first += count as usize,
        }
    }

    /// Removes spaces from the end.
    fn trim_end(&mut self) {
        while let Some(&(SPACE, change)) = self.characters.last() {
            self.characters.pop();
            self.remove(1 - change);
        }
    }
}

impl SentencePieceNormalizer {
    /// The replacement of the longest prefix of `text` in the table, and the prefix's length in
    /// bytes. Without a match, the first character stays as it is.
    fn normalize_prefix<'a>(&'a self, text: &'a str) -> (&'a str, usize) {
        let charsmap = self.precompiled_charsmap.as_ref();
        if let Some((replacement, length)) = charsmap.and_then(|map| map.longest_prefix(text)) {
            return (replacement, length);
        }
        let length = text.chars().next().map_or(0, char::len_utf8);
        (&text[..length], length)
    }

    fn normalized(&self, text: &str) -> Output {
        let mut output = Output::default();
        let mut rest = text;
        if let Some(codes) = &self.language_codes
            && let Some((code, length)) = codes.prefix_of(rest)
        {
            output.replace(rest[..length].chars().count(), code.chars());
            rest = &rest[length..];
        }
        if self.remove_extra_whitespaces {
            while let (" ", length) = self.normalize_prefix(rest) {
                output.remove(rest[..length].chars().count() as isize);
                rest = &rest[length..];
            }
        }
        if rest.is_empty() {
            return output;
        }
        if self.add_dummy_prefix {
            output.replace(0, std::iter::once(SPACE));
        }
        let mut after_space = self.remove_extra_whitespaces;
        while !rest.is_empty() {
            let (mut replacement, length) = self.normalize_prefix(rest);
            if after_space {
                replacement = replacement.trim_start_matches(' ');
            }
            if !replacement.is_empty() {
                after_space = self.remove_extra_whitespaces && replacement.ends_with(' ');
            }
            let escaped = replacement
                .chars()
                .map(|character| if character == ' ' { SPACE } else { character });
            output.replace(rest[..length].chars().count(), escaped);
            rest = &rest[length..];
        }
        if self.remove_extra_whitespaces {
            output.trim_end();
        }
        output
    }
}

impl Normalizer for SentencePieceNormalizer {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        let output = self.normalized(text.get());
        text.transform(output.characters, output.removed_first);
        Ok(())
    }
}

fn to_base64<S: Serializer>(charsmap: &Option<CharsMap>, to: S) -> Result<S::Ok, S::Error> {
    let text =
        charsmap.as_ref().map(|charsmap| base64_simd::STANDARD.encode_to_string(charsmap.bytes()));
    text.serialize(to)
}

fn from_base64<'de, D: Deserializer<'de>>(from: D) -> Result<Option<CharsMap>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else {
        return Ok(None);
    };
    CharsMap::from_base64(&text).map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalize(normalizer: &SentencePieceNormalizer, text: &str) -> String {
        let mut normalized = NormalizedString::from(text);
        normalizer.normalize(&mut normalized).unwrap();
        normalized.get().to_owned()
    }

    #[test]
    fn spaces_are_trimmed_joined_and_escaped() {
        let normalizer = SentencePieceNormalizer {
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            ..Default::default()
        };
        for (text, expected) in [
            ("", ""),
            ("   ", ""),
            ("a", "▁a"),
            ("  a  b ", "▁a▁b"),
            ("a▁ ▁", "▁a"),
            ("▁a", "▁▁a"),
            ("é\n", "▁é\n"),
        ] {
            assert_eq!(normalize(&normalizer, text), expected, "{text:?}");
        }
        let normalizer = SentencePieceNormalizer::default();
        assert_eq!(normalize(&normalizer, "  a  b "), "▁▁a▁▁b▁");
    }

    #[test]
    fn a_language_code_counts_at_the_beginning() {
        let normalizer = SentencePieceNormalizer {
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            language_codes: Some(LanguageCodes {
                known: vec![">>fra<<".into()],
                unknown: "<unk>".into(),
            }),
            ..Default::default()
        };
        for (text, expected) in [
            (">>fra<< a", "\u{fdd0}>>fra<<▁a"),
            (">>fra<<", "\u{fdd0}>>fra<<"),
            (">>deu<<a", "<unk>▁a"),
            ("a >>fra<<", "▁a▁>>fra<<"),
            (">>fra", "▁>>fra"),
        ] {
            assert_eq!(normalize(&normalizer, text), expected, "{text:?}");
        }
    }
}
