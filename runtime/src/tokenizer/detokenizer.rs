//! Generated tokens to text, one at a time.

use serde_json::json;
use tokenizers::DecoderWrapper;

use super::{TextDecoder, Tokenizer};
use crate::error::Result;

/// Turns tokens into text one by one: the pieces, joined, begin what [`Tokenizer::decode`] makes of
/// all of them, whatever follows.
///
/// A piece is held back while it may still change: bytes of an unfinished character, all bytes that
/// follow each other where tokens are single bytes, as one that is no text makes none of them text,
/// and the last two words where the tokenizer cleans up spaces (`clean_up_tokenization_spaces`) or
/// puts words together by Moses' rules, as a later `'` or full stop takes the space before it away.
pub struct Detokenizer {
    tokenizer: Tokenizer,
    ids: Vec<u32>,
    /// Bytes of the text that were handed out.
    told: usize,
    /// Whether the end of a text may change with what follows.
    cleans_up_spaces: bool,
    /// Whether tokens can be single bytes.
    falls_back_to_bytes: bool,
}

impl Tokenizer {
    /// Text of tokens that come one at a time.
    pub fn detokenizer(&self) -> Detokenizer {
        Detokenizer {
            tokenizer: self.clone(),
            ids: Vec::new(),
            told: 0,
            cleans_up_spaces: cleans_up_spaces(self.target.get_decoder()),
            falls_back_to_bytes: falls_back_to_bytes(self.target.get_decoder()),
        }
    }
}

impl Detokenizer {
    /// The text that became certain with this token.
    pub fn push(&mut self, token: u32) -> Result<Option<String>> {
        self.ids.push(token);
        // All of it anew: a part of the tokens may decode to other text than it does in its place.
        let text = self.tokenizer.decode(self.without_last_bytes())?;
        let certain = text.trim_end_matches('\u{fffd}');
        let certain = match self.cleans_up_spaces {
            true => without_last_two_words(certain),
            false => certain,
        };
        let piece = certain.get(self.told..).filter(|piece| !piece.is_empty());
        self.told = self.told.max(certain.len());
        Ok(piece.map(str::to_owned))
    }

    /// The tokens without the bytes at their end, and without special tokens among these.
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

/// Whether a decoder makes text of tokens that are single bytes.
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

/// Whether a decoder, as `tokenizer.json` has it, changes stretches of text that tokens were joined
/// to: then the end of a text depends on what follows.
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
/// Every pattern of `clean_up_tokenization` begins with a space, has at most one word behind it,
/// and may be made by the one that joins a lone `'` to both its neighbours: `n ' t`. So no more
/// than two words can change.
fn without_last_two_words(text: &str) -> &str {
    let cut = |text: &str| text.trim_end().trim_end_matches(|c: char| !c.is_whitespace()).len();
    let one = &text[..cut(text)];
    text[..cut(one)].trim_end()
}
