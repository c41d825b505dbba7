//! Text to source tokens, and generated tokens to text.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{
    DecoderWrapper, Model, ModelWrapper, NormalizerWrapper, PostProcessor, PostProcessorWrapper,
    PreTokenizerWrapper, Tokenizer as Inner, TokenizerImpl, TruncationParams,
};

use crate::bundle::{Bundle, Surplus, TOKENIZER};
use crate::error::{Error, Result};
use crate::generation::{ParameterError, StopStrings};
use crate::stop_strings::{StopStringCriteria, TokenTexts};

/// The bundle's tokenizer. Clones share one vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
    path: PathBuf,
    /// What each token stands for: made when stop strings are first asked for, as it takes a while.
    texts: OnceLock<Arc<TokenTexts>>,
    source_prefix: String,
    surplus: Option<Surplus>,
    /// Whether the end of a text may change with what follows.
    tidies: bool,
}

/// A tokenized source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTokens {
    /// Token ids, the end token included.
    pub ids: Vec<u32>,
    /// Whether the text was longer than the model takes, and cut.
    pub truncated: bool,
}

impl Tokenizer {
    /// Loads the tokenizer of a bundle, with the source prefix and the limits that its manifest
    /// records.
    pub fn of(bundle: &Bundle) -> Result<Self> {
        let manifest = bundle.manifest();
        let mut tokenizer = Self::open(&bundle.path(TOKENIZER), manifest.max_source_tokens)?;
        tokenizer.surplus = manifest.surplus_tokens;
        tokenizer.set_source_prefix(manifest.source_prefix.as_deref().unwrap_or_default());
        Ok(tokenizer)
    }

    /// Loads `tokenizer.json`; sources are cut to `max_tokens`, special tokens included.
    pub fn open(path: &Path, max_tokens: usize) -> Result<Self> {
        let wrong = |problem: String| Error::Tokenizer {
            path: path.into(),
            problem,
        };
        let mut inner = read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let special = inner
            .get_post_processor()
            .map_or(0, |p| p.added_tokens(false));
        if max_tokens <= special {
            return Err(wrong(format!(
                "adds {special} tokens to a text, and the bundle allows {max_tokens} in all"
            )));
        }
        let truncation = TruncationParams {
            max_length: max_tokens,
            ..Default::default()
        };
        inner
            .with_truncation(Some(truncation))
            .map_err(|error| wrong(format!("cannot cut to {max_tokens} tokens: {error}")))?;
        inner.with_padding(None);
        Ok(Self {
            tidies: tidies(inner.get_decoder()),
            inner: Arc::new(inner),
            path: path.into(),
            texts: OnceLock::new(),
            source_prefix: String::new(),
            surplus: None,
        })
    }

    /// What is put before every document, as it stands: `summarize: `.
    pub fn source_prefix(&self) -> &str {
        &self.source_prefix
    }

    /// Puts this before every document instead.
    pub fn set_source_prefix(&mut self, prefix: &str) {
        prefix.clone_into(&mut self.source_prefix);
    }

    /// Tokens of a document, the source prefix before it.
    pub fn encode(&self, text: &str) -> Result<SourceTokens> {
        let encoding = if self.source_prefix.is_empty() {
            self.inner.encode_fast(text, true)
        } else {
            let text = format!("{}{text}", self.source_prefix);
            self.inner.encode_fast(text, true)
        }
        .map_err(|error| self.failed(&error))?;
        let truncated = !encoding.get_overflowing().is_empty();
        let mut ids = encoding.get_ids().to_vec();
        if let Some(surplus) = self.surplus {
            for id in &mut ids {
                *id = surplus.apply(*id);
            }
        }
        Ok(SourceTokens { ids, truncated })
    }

    /// Text of generated tokens, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner
            .decode(ids, true)
            .map_err(|error| self.failed(&error))
    }

    /// Text of tokens that come one at a time.
    pub fn detokenizer(&self) -> Detokenizer {
        Detokenizer {
            tokenizer: self.clone(),
            ids: Vec::new(),
            told: 0,
        }
    }

    /// Tokens it knows, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// What finds these stop strings in generated tokens, as transformers finds them.
    pub fn stop_strings(&self, stop_strings: &[String]) -> Result<Arc<dyn StopStrings>> {
        let texts = match self.texts.get() {
            Some(texts) => texts,
            None => {
                let texts = TokenTexts::new(&self.inner).map_err(|error| self.failed(&error))?;
                self.texts.get_or_init(|| texts.into())
            }
        };
        match StopStringCriteria::new(texts.clone(), stop_strings) {
            Some(criteria) => Ok(Arc::new(criteria)),
            None => Err(Error::Parameter(ParameterError::unmatchable(stop_strings))),
        }
    }

    fn failed(&self, error: &tokenizers::Error) -> Error {
        Error::Tokenizer {
            path: self.path.clone(),
            problem: format!("failed: {error}"),
        }
    }
}

/// Reads `tokenizer.json`.
fn read(path: &Path) -> tokenizers::Result<Inner> {
    let text = fs::read_to_string(path)?;
    // What cannot be read so has the library say why.
    read_by_type(&text).map_or_else(|| text.parse(), Ok)
}

/// Reads a vocabulary straight into the model that it says it is for.
///
/// The library makes trees of values of the whole vocabulary before it looks at the model's `type`, which takes nearly
/// twice as long for 100,000 words.
fn read_by_type(text: &str) -> Option<Inner> {
    let File { model } = serde_json::from_str(text).ok()?;
    match model.kind.as_str() {
        "Unigram" => read_as::<Unigram>(text),
        "BPE" => read_as::<BPE>(text),
        "WordPiece" => read_as::<WordPiece>(text),
        "WordLevel" => read_as::<WordLevel>(text),
        _ => None,
    }
}

fn read_as<M>(text: &str) -> Option<Inner>
where
    M: DeserializeOwned + Model + Into<ModelWrapper>,
{
    type Of<M> = TokenizerImpl<
        M,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >;
    serde_json::from_str::<Of<M>>(text).ok().map(Into::into)
}

/// What is looked at before the rest of a `tokenizer.json`.
#[derive(Deserialize)]
struct File {
    model: Kind,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

/// Turns tokens into text one by one: the pieces, joined, begin what [`Tokenizer::decode`] makes of
/// all of them, whatever follows.
///
/// A piece is held back while it may still change: bytes of an unfinished character, and the last
/// two words where the tokenizer tidies spaces (`clean_up_tokenization_spaces`), as a later `'` or
/// full stop takes the space before it away.
pub struct Detokenizer {
    tokenizer: Tokenizer,
    ids: Vec<u32>,
    /// Bytes of the text that were handed out.
    told: usize,
}

impl Detokenizer {
    /// The text that became certain with this token.
    pub fn push(&mut self, token: u32) -> Result<Option<String>> {
        self.ids.push(token);
        // All of it anew: a part of the tokens may decode to other text than it does in its place.
        let text = self.tokenizer.decode(&self.ids)?;
        let certain = text.trim_end_matches('\u{fffd}');
        let certain = match self.tokenizer.tidies {
            true => without_last_two_words(certain),
            false => certain,
        };
        let piece = certain.get(self.told..).filter(|piece| !piece.is_empty());
        self.told = self.told.max(certain.len());
        Ok(piece.map(str::to_owned))
    }
}

/// Whether a decoder, as `tokenizer.json` has it, changes stretches of text that tokens were joined
/// to: then the end of a text depends on what follows.
fn tidies(decoder: Option<&DecoderWrapper>) -> bool {
    let Some(DecoderWrapper::Sequence(sequence)) = decoder else {
        return false;
    };
    let joined = sequence.get_decoders().iter();
    joined
        .skip_while(|decoder| !matches!(decoder, DecoderWrapper::Fuse(_)))
        .any(|decoder| match decoder {
            DecoderWrapper::Replace(replace) => json!(replace)["pattern"]["String"]
                .as_str()
                .is_some_and(|pattern| pattern.chars().count() > 1),
            _ => false,
        })
}

/// The text before its last two words and the space before them.
///
/// Every pattern of `clean_up_tokenization` begins with a space, has at most one word behind it, and
/// may be made by the one that joins a lone `'` to both its neighbours: `n ' t`. So no more than two
/// words can change.
fn without_last_two_words(text: &str) -> &str {
    let cut = |text: &str| {
        text.trim_end()
            .trim_end_matches(|c: char| !c.is_whitespace())
            .len()
    };
    let one = &text[..cut(text)];
    text[..cut(one)].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(model: &serde_json::Value) -> String {
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [{
                "id": 0, "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            }],
            "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
            "model": model,
        })
        .to_string()
    }

    #[test]
    fn every_type_of_model_is_read_as_the_library_reads_it() {
        let vocab = json!({"<unk>": 0, "a": 1, "b": 2, "ab": 3});
        for model in [
            json!({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.25], ["ab", -0.1]]}),
            json!({"type": "BPE", "unk_token": "<unk>", "vocab": vocab, "merges": [["a", "b"]]}),
            json!({"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocab}),
            json!({"type": "WordLevel", "unk_token": "<unk>", "vocab": vocab}),
        ] {
            let text = file(&model);
            let read = read_by_type(&text).expect("a known type");
            let library: Inner = text.parse().unwrap();
            assert_eq!(
                read.to_string(false).unwrap(),
                library.to_string(false).unwrap()
            );
            let ids =
                |tokenizer: &Inner| tokenizer.encode("ab b", true).unwrap().get_ids().to_vec();
            assert_eq!(ids(&read), ids(&library));
        }
    }

    #[test]
    fn what_names_no_type_is_left_to_the_library() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TOKENIZER);
        let untyped = file(&json!({"unk_token": "<unk>", "vocab": {"<unk>": 0, "a": 1}}));
        assert!(read_by_type(&untyped).is_none());
        fs::write(&path, untyped).unwrap();
        assert_eq!(read(&path).unwrap().get_vocab_size(true), 2);
        let wrong = file(&json!({"type": "WordLevel", "vocab": 7}));
        fs::write(&path, &wrong).unwrap();
        assert_eq!(
            read(&path).unwrap_err().to_string(),
            wrong.parse::<Inner>().unwrap_err().to_string()
        );
    }
}
