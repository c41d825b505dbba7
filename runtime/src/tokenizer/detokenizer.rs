//! Decodes generated tokens one at a time.

use serde_json::json;
use tokenizers::DecoderWrapper;

use super::{TextDecoder, Tokenizer};
use crate::error::Result;

/// Decodes tokens one at a time. The concatenated pieces are always the beginning of the text that
/// [`Tokenizer::decode`] returns for all tokens.
///
/// Text that later tokens may change is held back:
///
/// - the bytes of an incomplete character;
/// - with byte tokens, all consecutive bytes at the end, since one invalid byte changes all of
///   them;
/// - the last two words, where the tokenizer cleans up spaces (`clean_up_tokenization_spaces`) or
///   joins words by Moses' rules, since a later `'` or full stop can remove the space before it.
pub struct Detokenizer {
    tokenizer: Tokenizer,
    ids: Vec<u32>,
    /// Bytes of the text that were returned.
    returned: usize,
    /// Whether later tokens may change the spaces at the end of the text.
    cleans_up_spaces: bool,
    /// Whether the decoder has byte tokens (`byte_fallback`).
    falls_back_to_bytes: bool,
}

impl Tokenizer {
    /// Returns a decoder of tokens that arrive one at a time.
    pub fn detokenizer(&self) -> Detokenizer {
        Detokenizer {
            tokenizer: self.clone(),
            ids: Vec::new(),
            returned: 0,
            cleans_up_spaces: cleans_up_spaces(self.target.get_decoder()),
            falls_back_to_bytes: falls_back_to_bytes(self.target.get_decoder()),
        }
    }
}

impl Detokenizer {
    /// Adds a token. Returns the text that is now certain, if any.
    pub fn push(&mut self, token: u32) -> Result<Option<String>> {
        self.ids.push(token);
        // All tokens are decoded again, since the text of a token depends on those around it.
        let text = self.tokenizer.decode(self.without_last_bytes())?;
        let certain = text.trim_end_matches('\u{fffd}');
        let certain = match self.cleans_up_spaces {
            true => without_last_two_words(certain),
            false => certain,
        };
        let piece = certain.get(self.returned..).filter(|piece| !piece.is_empty());
        self.returned = self.returned.max(certain.len());
        Ok(piece.map(str::to_owned))
    }

    /// The tokens without the byte tokens at their end, and without special tokens between these.
    fn without_last_bytes(&self) -> &[u32] {
        if !self.falls_back_to_bytes {
            return &self.ids;
        }
        let target = &self.tokenizer.target;
        let is_byte_or_special = |id: &u32| {
            let token = target.id_to_token(*id).unwrap_or_default();
            let is_byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
            is_byte || target.get_added_vocabulary().is_special_token(&token)
        };
        let certain = self.ids.iter().rposition(|id| !is_byte_or_special(id));
        &self.ids[..certain.map_or(0, |last| last + 1)]
    }
}

/// Whether a decoder has byte tokens.
fn falls_back_to_bytes(decoder: Option<&TextDecoder>) -> bool {
    match decoder {
        Some(TextDecoder::Library(DecoderWrapper::ByteFallback(_))) => true,
        Some(TextDecoder::Library(DecoderWrapper::Sequence(sequence))) => sequence
            .get_decoders()
            .iter()
            .any(|decoder| matches!(decoder, DecoderWrapper::ByteFallback(_))),
        _ => false,
    }
}

/// Whether a decoder replaces text after it has joined the tokens. The end of a text then depends
/// on later tokens.
fn cleans_up_spaces(decoder: Option<&TextDecoder>) -> bool {
    let sequence = match decoder {
        Some(TextDecoder::Moses(_)) => return true,
        Some(TextDecoder::Library(DecoderWrapper::Sequence(sequence))) => sequence,
        _ => return false,
    };
    let joined = sequence.get_decoders().iter();
    joined.skip_while(|decoder| !matches!(decoder, DecoderWrapper::Fuse(_))).any(|decoder| {
        match decoder {
            DecoderWrapper::Replace(replace) => json!(replace)["pattern"]["String"]
                .as_str()
                .is_some_and(|pattern| pattern.chars().count() > 1),
            _ => false,
        }
    })
}

/// The text before its last two words and the space before them.
///
/// Later tokens change at most two words: every pattern of `clean_up_tokenization` begins with a
/// space and has at most one word behind it. The pattern that joins a lone `'` to both neighbours
/// (`n ' t`) can create a match of another one.
fn without_last_two_words(text: &str) -> &str {
    let cut = |text: &str| text.trim_end().trim_end_matches(|c: char| !c.is_whitespace()).len();
    let one = &text[..cut(text)];
    text[..cut(one)].trim_end()
}
