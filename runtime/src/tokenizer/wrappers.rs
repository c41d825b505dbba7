//! Normalizers and decoders of the `tokenizers` library, and those that it lacks.

use serde::Serialize;
use tokenizers::{Decoder, DecoderWrapper, NormalizedString, Normalizer, NormalizerWrapper};

use super::moses::{MosesDecoder, MosesNormalizer};
use super::sentencepiece_normalizer::SentencePieceNormalizer;

/// A normalizer: it maps text to text.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum TextNormalizer {
    /// SentencePiece's normalizer.
    SentencePiece(SentencePieceNormalizer),
    /// Moses' normalizer.
    Moses(MosesNormalizer),
    /// A normalizer of the `tokenizers` library.
    Library(NormalizerWrapper),
}

impl Normalizer for TextNormalizer {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        match self {
            Self::SentencePiece(normalizer) => normalizer.normalize(text),
            Self::Moses(normalizer) => normalizer.normalize(text),
            Self::Library(normalizer) => normalizer.normalize(text),
        }
    }
}

/// A decoder: it maps tokens to text.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum TextDecoder {
    /// Moses' decoder.
    Moses(MosesDecoder),
    /// A decoder of the `tokenizers` library.
    Library(DecoderWrapper),
}

impl Decoder for TextDecoder {
    fn decode_chain(&self, tokens: Vec<String>) -> tokenizers::Result<Vec<String>> {
        match self {
            Self::Moses(decoder) => decoder.decode_chain(tokens),
            Self::Library(decoder) => decoder.decode_chain(tokens),
        }
    }
}
