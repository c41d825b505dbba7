//! The rules of Moses, as `sacremoses` implements them. They separate words from punctuation, and
//! join words to text. FSMT's tokenizer uses them before and after its byte-pair encoding.
//!
//! The results agree with `FSMTTokenizer` (`transformers/models/fsmt/tokenization_fsmt.py`) and
//! sacremoses 0.2.0. `data.txt` has sacremoses' tables of characters and abbreviations.

mod characters;
mod detokenize;
mod language;
mod normalize;
mod text;
mod words;

use serde::{Deserialize, Serialize};
use tokenizers::{Decoder, NormalizedString, Normalizer};

pub use self::language::Language;
use self::text::Text;
use super::clean_up::CLEAN_UP_TOKENIZATION;

/// Splits a text into words, with one space between words.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "Moses")]
pub struct MosesNormalizer {
    /// The language of the text.
    pub language: Language,
    /// Whether the text is lowercased first.
    pub lowercase: bool,
}

impl Normalizer for MosesNormalizer {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        let mut words = Text::new(text.get());
        if self.lowercase {
            words.lower();
        }
        normalize::punctuation(&mut words, self.language);
        words::separate(&mut words, self.language);
        let (characters, removed_first) = words.changes(text.get().chars().count());
        text.transform(characters, removed_first);
        Ok(())
    }
}

/// Joins tokens to text. The last token of each word ends in `</w>`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "Moses")]
pub struct MosesDecoder {
    /// The language of the text.
    pub language: Language,
    /// Whether spaces before punctuation are removed ([`CLEAN_UP_TOKENIZATION`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clean_up_spaces: bool,
}

/// Suffix of the last token of a word.
const END_OF_WORD: &str = "</w>";

impl Decoder for MosesDecoder {
    fn decode_chain(&self, tokens: Vec<String>) -> tokenizers::Result<Vec<String>> {
        let text = tokens.concat().replace(' ', "").replace(END_OF_WORD, " ");
        let text = detokenize::text(&text, self.language);
        let replacements = CLEAN_UP_TOKENIZATION.iter().filter(|_| self.clean_up_spaces);
        Ok(vec![replacements.fold(text, |text, (from, to)| text.replace(from, to))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, language: Language) -> String {
        let mut normalized = NormalizedString::from(text);
        MosesNormalizer { language, lowercase: false }.normalize(&mut normalized).unwrap();
        normalized.get().to_owned()
    }

    #[test]
    fn words_are_apart_from_punctuation() {
        for (text, expected) in [
            ("", ""),
            ("  ", ""),
            ("Hello, world!", "Hello , world !"),
            ("It's Mr. Smith's 5,300.", "It &apos;s Mr. Smith &apos;s 5,300 ."),
            ("see No. 5 and No. x", "see No. 5 and No. x"),
            ("well-known ... a|b", "well @-@ known ... a &#124; b"),
            ("«a» “b” ‘c’ d…", "&quot; a &quot; &quot; b &quot; &apos; c &apos; d ..."),
        ] {
            assert_eq!(words(text, Language::En), expected, "{text:?}");
        }
        assert_eq!(words("z.B. Dr. Otto's", Language::De), "z.B. Dr. Otto &apos; s");
    }

    #[test]
    fn a_text_comes_back() {
        for (language, text) in [
            (Language::En, "It's \"well-known\" isn't it? (Yes.) $5 & more"),
            (Language::De, "Das ist, sagt er, \"gut\": 5 %."),
            (Language::Ru, "Это хорошо, не так ли?"),
        ] {
            let tokens: Vec<String> =
                words(text, language).split(' ').map(|word| format!("{word}</w>")).collect();
            let found = MosesDecoder { language, clean_up_spaces: false }
                .decode_chain(tokens)
                .unwrap()
                .concat();
            assert_eq!(found, text.replace("5 %", "5%"));
        }
    }

    #[test]
    fn offsets_are_those_of_the_text() {
        let mut text = NormalizedString::from("a,  «b» & c-d");
        let normalizer = MosesNormalizer { language: Language::De, lowercase: false };
        normalizer.normalize(&mut text).unwrap();
        assert_eq!(text.get(), "a , &quot; b &quot; &amp; c @-@ d");
        let at = text.get().find('b').unwrap();
        let range =
            text.convert_offsets(tokenizers::tokenizer::normalizer::Range::Normalized(at..at + 1));
        assert_eq!(&"a,  «b» & c-d"[range.unwrap()], "b");
    }
}
