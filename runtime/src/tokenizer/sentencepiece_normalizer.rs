//! SentencePiece's own normalization, for the tokenizers that run SentencePiece itself (Marian,
//! M2M-100, PLBART, BARTpho).
//!
//! It implements `Normalizer::Normalize` of SentencePiece's `src/normalizer.cc`. The `tokenizers`
//! library has a normalizer for the same table, `Precompiled`. It looks at graphemes and takes the
//! shortest entry that it finds. SentencePiece takes the longest one that begins the rest of the
//! text.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokenizers::{NormalizedString, Normalizer};

use super::charsmap::CharsMap;

/// A space in SentencePiece's pieces.
const SPACE: char = '▁';
/// Stands before a language code that was found where codes count. No text has this noncharacter,
/// so the same characters elsewhere are not a code.
pub const CODE_MARK: char = '\u{fdd0}';

/// The normalizer of a SentencePiece model, `NormalizerSpec` in `src/sentencepiece_model.proto`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SentencePiece")]
pub struct SentencePieceNormalizer {
    /// The table of replacements; none where the model changes no character.
    #[serde(default, serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub precompiled_charsmap: Option<CharsMap>,
    /// Whether a space is put before the text.
    pub add_dummy_prefix: bool,
    /// Whether runs of spaces become one, and those at the ends none.
    pub remove_extra_whitespaces: bool,
    /// Language codes (`>>fra<<`) that count at the beginning of a text. Another code there becomes
    /// the unknown token. Absent where the tokenizer knows no codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_codes: Option<LanguageCodes>,
}

/// Marian's language codes: `remove_language_code` of transformers' `tokenization_marian.py`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageCodes {
    /// Codes that the vocabulary has.
    pub known: Vec<String>,
    /// What any other becomes.
    pub unknown: String,
}

impl LanguageCodes {
    /// The code at the beginning of a text as it is normalized, and the code's length in bytes.
    fn at_the_beginning<'a>(&'a self, text: &'a str) -> Option<(String, usize)> {
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

/// A normalized text, and for each of its characters how many of the original it adds or removes.
/// [`NormalizedString::transform`] wants them so: 1 for an added character, 0 for a replaced one,
/// less for one that stands for several.
#[derive(Default)]
struct Output {
    characters: Vec<(char, isize)>,
    /// Characters of the original that were removed at its beginning.
    removed_first: usize,
}

impl Output {
    /// Puts `new` in the place of `old` characters of the original.
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

    /// Takes spaces from the end.
    fn trim_end(&mut self) {
        while let Some(&(SPACE, change)) = self.characters.last() {
            self.characters.pop();
            self.remove(1 - change);
        }
    }
}

impl SentencePieceNormalizer {
    /// The longest beginning of `text` that the table replaces, or its first character: what it
    /// becomes, and its length in bytes.
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
            && let Some((code, length)) = codes.at_the_beginning(rest)
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
