//! Stop strings: `StopStringCriteria` of transformers' `stopping_criteria.py` (5.24.0).
//!
//! Texts of tokens are matched backwards from the newest one. A stop string may begin and end
//! within a token, but it must end in the newest one. transformers precomputes tables of the
//! positions at which each token matches. This module makes the same comparisons at each step.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tokenizers::{
    Decoder, Model, Normalizer, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use crate::generation::StopStrings;

/// Text that is decoded before each token, since a token at the beginning may decode differently.
const STATIC_PREFIX: &str = "abcdef";
/// Token ids from here on are ignored. No model has as many tokens.
const MAX_TOKENS: u32 = 1 << 24;

/// The text of each token in UTF-8, or its bytes: transformers' `clean_tokenizer_vocab`.
pub(crate) struct TokenTexts {
    /// By token id; `None` for ids without a token.
    texts: Vec<Option<Box<[u8]>>>,
    unit: Unit,
}

/// The unit in which transformers matches texts. Matching bytes gives the same result as matching
/// characters, but the unit determines how many tokens are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Characters,
    /// Each character of a token represents a byte, as in GPT-2 and BART.
    ByteLevel,
    /// Tokens such as `<0x0A>` represent a byte.
    ByteFallback,
}

impl Unit {
    fn of(decoder: &Value) -> Self {
        let has = |kind| has_type(decoder, kind);
        if decoder["type"] == "ByteLevel" {
            Self::ByteLevel
        } else if has("ByteFallback") {
            Self::ByteFallback
        } else if has("ByteLevel") {
            Self::ByteLevel
        } else {
            Self::Characters
        }
    }

    /// The bytes of a token that represents bytes and not text.
    fn bytes(self, token: &str) -> Option<Box<[u8]>> {
        match self {
            Self::Characters => None,
            Self::ByteLevel => token.chars().map(byte_of).collect(),
            Self::ByteFallback => {
                let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
                let hexadecimal = digits.len() == 2 && digits.is_ascii();
                let byte = u8::from_str_radix(digits, 16).ok().filter(|_| hexadecimal)?;
                Some(Box::new([byte]))
            }
        }
    }
}

/// Whether the decoder, or a part of it, has the type `kind`.
fn has_type(decoder: &Value, kind: &str) -> bool {
    match decoder {
        Value::Object(map) => {
            decoder["type"] == kind || map.values().any(|value| has_type(value, kind))
        }
        Value::Array(items) => items.iter().any(|value| has_type(value, kind)),
        _ => false,
    }
}

/// The byte that this character represents in GPT-2's vocabulary. Printable bytes are represented
/// by the same character, the others by the characters from U+0100 on.
fn byte_of(character: char) -> Option<u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = u32::from(character);
    match u8::try_from(code) {
        Ok(byte) => printable(&byte).then_some(byte),
        Err(_) => {
            (0..=u8::MAX).filter(|byte| !printable(byte)).nth(code.checked_sub(0x100)? as usize)
        }
    }
}

impl TokenTexts {
    pub(crate) fn new<M: Model, N: Normalizer, D: Decoder + Serialize>(
        tokenizer: &TokenizerImpl<M, N, PreTokenizerWrapper, PostProcessorWrapper, D>,
    ) -> tokenizers::Result<Self> {
        let decoder = tokenizer.get_decoder();
        let state = decoder.map(serde_json::to_value).transpose()?;
        let unit = Unit::of(&state.unwrap_or_default());
        let decode = |tokens: Vec<String>| match decoder {
            Some(decoder) => decoder.decode(tokens),
            None => Ok(tokens.join(" ")),
        };
        let prefix: Vec<String> = tokenizer
            .encode_fast(STATIC_PREFIX, false)?
            .get_ids()
            .iter()
            .filter_map(|id| tokenizer.id_to_token(*id))
            .collect();

        let mut vocab = tokenizer.get_vocab(true);
        vocab.retain(|_, id| *id < MAX_TOKENS);
        let size = vocab.values().max().map_or(0, |id| *id as usize + 1);
        let mut texts = vec![None; size];
        for (token, id) in vocab {
            let text = match unit.bytes(&token) {
                Some(bytes) => bytes,
                None => {
                    let mut tokens = prefix.clone();
                    tokens.push(token);
                    let text = decode(tokens)?;
                    // If the prefix cannot be decoded, the whole text is the token's.
                    let (_, text) = text.split_once(STATIC_PREFIX).unwrap_or(("", &text));
                    text.as_bytes().into()
                }
            };
            texts[id as usize] = Some(text);
        }
        Ok(Self { texts, unit })
    }

    fn of(&self, token: u32) -> Option<&[u8]> {
        self.texts.get(token as usize)?.as_deref()
    }
}

/// Finds stop strings in the texts of tokens.
pub(crate) struct StopStringCriteria {
    texts: Arc<TokenTexts>,
    stop_strings: Vec<Box<[u8]>>,
    /// Number of newest tokens that are compared: the length of the longest stop string, in
    /// characters for [`Unit::Characters`] and otherwise in bytes.
    window: usize,
}

impl StopStringCriteria {
    /// `None` if no token of the vocabulary can end one of these stop strings.
    pub(crate) fn new(texts: Arc<TokenTexts>, stop_strings: &[String]) -> Option<Self> {
        let length = |text: &String| match texts.unit {
            Unit::Characters => text.chars().count(),
            Unit::ByteLevel | Unit::ByteFallback => text.len(),
        };
        let window = stop_strings.iter().map(length).max().unwrap_or(0);
        let stop_strings: Vec<Box<[u8]>> =
            stop_strings.iter().map(|text| text.as_bytes().into()).collect();
        let possible =
            texts.texts.iter().flatten().any(|token| {
                stop_strings.iter().any(|stop| overlaps(token, stop).next().is_some())
            });
        possible.then_some(Self { texts, stop_strings, window })
    }

    /// Whether the tokens, newest first, end in this stop string.
    fn matches(&self, stop: &[u8], mut newest_first: impl Iterator<Item = u32> + Clone) -> bool {
        let Some(newest) = newest_first.next().and_then(|token| self.texts.of(token)) else {
            return false;
        };
        overlaps(newest, stop).any(|overlap| {
            let mut left = &stop[..stop.len() - overlap];
            for token in newest_first.clone() {
                if left.is_empty() {
                    break;
                }
                let Some(text) = self.texts.of(token) else {
                    return false;
                };
                if let Some(rest) = left.strip_suffix(text) {
                    left = rest;
                } else if text.ends_with(left) {
                    left = &[];
                } else {
                    return false;
                }
            }
            left.is_empty()
        })
    }
}

/// The possible overlaps of a stop string with the token in which it ends: numbers of the last
/// bytes of `stop` that are within `token`.
fn overlaps<'a>(token: &'a [u8], stop: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    (1..=token.len()).filter_map(move |end| {
        let head = &token[..end];
        (stop.ends_with(head) || head.ends_with(stop)).then_some(end.min(stop.len()))
    })
}

impl StopStrings for StopStringCriteria {
    fn ends(&self, token_ids: &[u32]) -> bool {
        let newest_first = token_ids.iter().rev().take(self.window).copied();
        self.stop_strings.iter().any(|stop| self.matches(stop, newest_first.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A criterion for tokens with these texts.
    fn criterion(texts: &[&str], stop_strings: &[&str]) -> Option<StopStringCriteria> {
        let texts = TokenTexts {
            texts: texts.iter().map(|text| Some(text.as_bytes().into())).collect(),
            unit: Unit::Characters,
        };
        let stop_strings: Vec<String> = stop_strings.iter().map(|&text| text.to_owned()).collect();
        StopStringCriteria::new(texts.into(), &stop_strings)
    }

    /// Whether tokens with these texts end in "stop".
    fn ends(texts: &[&str]) -> bool {
        let criterion = criterion(texts, &["stop"]).expect("a token that fits");
        let ids: Vec<u32> = (0..texts.len() as u32).collect();
        criterion.ends(&ids)
    }

    #[test]
    fn the_examples_of_transformers_documentation_hold() {
        assert!(ends(&["st", "op"]));
        assert!(ends(&["stop"]));
        assert!(ends(&["st", "opera"]));
        assert!(ends(&["sto", "pper"]));
        assert!(ends(&["las", "topper"]));
        assert!(ends(&["s", "to", "pped"]));
        assert!(!ends(&["stop", "at"]));
        assert!(!ends(&["st", "op", "at"]));
        assert!(!ends(&["st", "opera", "tion"]));
        assert!(!ends(&["st", "ep", "op"]));
    }

    #[test]
    fn a_stop_string_that_no_token_can_end_gives_no_criterion() {
        assert!(criterion(&["a", "b"], &["c"]).is_none());
        assert!(criterion(&["a", "b"], &["c", "ba"]).is_some());
    }

    #[test]
    fn characters_stand_for_bytes_as_in_gpt_2() {
        assert_eq!(byte_of('A'), Some(b'A'));
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
        assert_eq!(byte_of('\u{143}'), Some(0xAD));
        assert_eq!(byte_of('\u{144}'), None);
        assert_eq!(byte_of(' '), None);
    }
}
