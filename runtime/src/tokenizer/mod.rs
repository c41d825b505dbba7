//! Encodes texts as source tokens, and decodes generated tokens.

mod charsmap;
mod clean_up;
mod detokenizer;
mod moses;
pub mod parts;
mod pieces;
mod pipeline;
mod sentencepiece_normalizer;
mod wrappers;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokenizers::{Encoding, Token, TruncationDirection};

pub use self::charsmap::CharsMap;
pub use self::clean_up::CLEAN_UP_TOKENIZATION;
pub use self::detokenizer::Detokenizer;
pub use self::moses::{Language, MosesDecoder, MosesNormalizer};
pub use self::pipeline::{EncodingOptions, Pipeline, from_json};
pub use self::sentencepiece_normalizer::{CODE_MARK, LanguageCodes, SentencePieceNormalizer};
pub use self::wrappers::{TextDecoder, TextNormalizer};
use crate::bundle::{Bundle, Surplus, TARGET_TOKENIZER, TOKENIZER};
use crate::error::{Error, Result};
use crate::generation::{ParameterError, StopStrings};
use crate::stop_strings::{StopStringCriteria, TokenTexts};

/// The bundle's tokenizer. Clones share one vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    pipeline: Arc<Pipeline>,
    /// The tokenizer of summaries: `pipeline`, unless the bundle has a target tokenizer.
    target: Arc<Pipeline>,
    path: PathBuf,
    /// Text of each token. It is computed at the first use of stop strings.
    texts: OnceLock<Arc<TokenTexts>>,
    source_prefix: String,
    surplus: Option<Surplus>,
    /// Special tokens that precede every source.
    before: Vec<u32>,
    /// Special tokens that follow every source.
    after: Vec<u32>,
    /// Maximum number of source tokens, special tokens excluded.
    max_tokens: usize,
    options: EncodingOptions,
}

/// A tokenized source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTokens {
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// Whether the text was longer than the limit and was truncated.
    pub truncated: bool,
}

impl Tokenizer {
    /// Loads the tokenizer of a bundle, with the source prefix and the limit of its manifest.
    pub fn of(bundle: &Bundle) -> Result<Self> {
        let manifest = bundle.manifest();
        let mut tokenizer = Self::open(&bundle.path(TOKENIZER), manifest.max_source_tokens)?;
        tokenizer.surplus = manifest.surplus_tokens;
        if bundle.has_target_tokenizer() {
            tokenizer.set_target(&bundle.path(TARGET_TOKENIZER))?;
        }
        tokenizer.set_source_prefix(manifest.source_prefix.as_deref().unwrap_or_default());
        Ok(tokenizer)
    }

    /// Loads `tokenizer.json`. Sources are truncated to `max_tokens`, special tokens included.
    pub fn open(path: &Path, max_tokens: usize) -> Result<Self> {
        let wrong = |problem: String| Error::Tokenizer { path: path.into(), problem };
        let (pipeline, options) = read(path)?;
        let (before, after) = special_tokens_around(&pipeline).map_err(wrong)?;
        let special = before.len() + after.len();
        if max_tokens <= special {
            return Err(wrong(format!(
                "adds {special} tokens to a text, and the bundle allows {max_tokens} in all"
            )));
        }
        let pipeline = Arc::new(pipeline);
        Ok(Self {
            target: pipeline.clone(),
            pipeline,
            path: path.into(),
            texts: OnceLock::new(),
            source_prefix: String::new(),
            surplus: None,
            before,
            after,
            max_tokens: max_tokens - special,
            options,
        })
    }

    /// Sets the tokenizer of summaries to the one in this file.
    pub fn set_target(&mut self, path: &Path) -> Result<()> {
        let (target, _) = read(path)?;
        self.target = target.into();
        Ok(())
    }

    /// The text that precedes every document, such as `summarize: `.
    pub fn source_prefix(&self) -> &str {
        &self.source_prefix
    }

    /// Sets the text that precedes every document.
    pub fn set_source_prefix(&mut self, prefix: &str) {
        prefix.clone_into(&mut self.source_prefix);
    }

    /// Tokens of the source prefix and a document.
    pub fn encode(&self, text: &str) -> Result<SourceTokens> {
        self.encode_until(text, &mut || false)
    }

    /// As [`encode`](Self::encode), but reading ends early where `stop` returns true. A long text
    /// takes seconds.
    pub(crate) fn encode_until(
        &self,
        text: &str,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<SourceTokens> {
        let texts = [self.source_prefix.as_str(), text];
        let (pipeline, limit) = (&self.pipeline, self.max_tokens);
        let (tokens, truncated) = self.catch_panics(|| match self.options.truncation_side {
            TruncationDirection::Right => pieces::first(pipeline, texts, limit, stop),
            TruncationDirection::Left => pieces::last(pipeline, texts, limit, stop),
        })?;
        let ends = self.options.end_token_once && tokens.last() == self.after.first();
        let after = if ends { &[] } else { self.after.as_slice() };
        let tokens = tokens.iter().map(|id| match self.surplus {
            Some(surplus) => surplus.apply(*id),
            None => *id,
        });
        let before = self.before.iter().copied();
        let ids = before.chain(tokens).chain(after.iter().copied());
        Ok(SourceTokens { ids: ids.collect(), truncated })
    }

    /// Number of tokens of a document of any length, with its source prefix and special tokens, and
    /// whether there are more. Counting ends at `limit` tokens.
    pub fn count_source(
        &self,
        text: &str,
        limit: usize,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<(usize, bool)> {
        let texts = [self.source_prefix.as_str(), text];
        let first = || pieces::first(&self.pipeline, texts, limit, stop);
        let (tokens, more) = self.catch_panics(first)?;
        Ok((tokens.len() + self.before.len() + self.after.len(), more))
    }

    /// Number of tokens of a part of a document, without prefix and special tokens, at most
    /// `limit`.
    pub(crate) fn count(&self, text: &str, limit: usize) -> Result<usize> {
        Ok(self.first_tokens(&self.pipeline, text, limit)?.len())
    }

    /// First token of this text in the target vocabulary; none where the text has no tokens.
    pub fn first_target_token(&self, text: &str) -> Result<Option<u32>> {
        Ok(self.first_tokens(&self.target, text, 1)?.first().copied())
    }

    fn first_tokens(&self, pipeline: &Pipeline, text: &str, limit: usize) -> Result<Vec<u32>> {
        let first = || pieces::first(pipeline, ["", text], limit, &mut || false);
        Ok(self.catch_panics(first)?.0)
    }

    /// Whether a token is a special one, which [`decode`](Self::decode) skips.
    pub fn is_special(&self, id: u32) -> bool {
        let token = self.target.id_to_token(id);
        token.is_some_and(|token| self.target.get_added_vocabulary().is_special_token(&token))
    }

    /// Maximum number of document tokens in a source, prefix and special tokens excluded.
    pub(crate) fn max_document_tokens(&self) -> Result<usize> {
        Ok(self.max_tokens - self.count(&self.source_prefix, self.max_tokens)?)
    }

    /// Whether truncation removes the beginning of a text.
    pub(crate) fn keeps_end(&self) -> bool {
        self.options.truncation_side == TruncationDirection::Left
    }

    /// Text of generated tokens, without special tokens.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.catch_panics(|| self.target.decode(ids, true))
    }

    /// Size of the vocabulary, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.pipeline.get_vocab_size(true)
    }

    /// A criterion that finds these stop strings in generated tokens, as transformers does.
    pub fn stop_strings(&self, stop_strings: &[String]) -> Result<Arc<dyn StopStrings>> {
        let texts = match self.texts.get() {
            Some(texts) => texts,
            None => {
                let texts = self.catch_panics(|| TokenTexts::new(&self.target))?;
                self.texts.get_or_init(|| texts.into())
            }
        };
        match StopStringCriteria::new(texts.clone(), stop_strings) {
            Some(criteria) => Ok(Arc::new(criteria)),
            None => Err(Error::Parameter(ParameterError::unmatchable(stop_strings))),
        }
    }

    /// Runs code of the `tokenizers` library. A panic becomes an error: the library panics at some
    /// files that it did not write itself.
    fn catch_panics<T>(&self, run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
        let failed = |problem: &dyn std::fmt::Display| Error::Tokenizer {
            path: self.path.clone(),
            problem: format!("failed: {problem}"),
        };
        catch_unwind(AssertUnwindSafe(run))
            .map_err(|_| failed(&"its parts contradict each other"))?
            .map_err(|error| failed(&error))
    }
}

/// Reads a `tokenizer.json`.
fn read(path: &Path) -> Result<(Pipeline, EncodingOptions)> {
    let wrong = |error: &dyn std::fmt::Display| Error::Tokenizer {
        path: path.into(),
        problem: format!("cannot be read: {error}"),
    };
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    from_json(&text).map_err(|error| wrong(&error))
}

/// The special tokens that a tokenizer puts before and after the tokens of a text.
fn special_tokens_around(pipeline: &Pipeline) -> std::result::Result<(Vec<u32>, Vec<u32>), String> {
    /// Placeholder for the text. No vocabulary has this id.
    const TEXT: u32 = u32::MAX;
    let text = Encoding::from_tokens(vec![Token::new(TEXT, String::new(), (0, 0))], 0);
    let whole = pipeline
        .post_process(text, None, true)
        .map_err(|error| format!("cannot put special tokens around a text: {error}"))?;
    let mut parts = whole.get_ids().split(|id| *id == TEXT);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(before), Some(after), None) => Ok((before.into(), after.into())),
        _ => Err("does not put its special tokens around the text once".into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A tokenizer of words. `fields` replace those of its file. It adds `</s>` if `ends`.
    fn tokenizer(ends: bool, max_tokens: usize, fields: &Value) -> Result<Tokenizer> {
        let after = json!([{"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "</s>", "type_id": 0}}]);
        let template = json!({"type": "TemplateProcessing", "single": after, "pair": [],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}});
        let mut file = json!({
            "version": "1.0",
            "added_tokens": [{"id": 1, "content": "</s>", "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true}],
            "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": if ends { template } else { Value::Null }, "decoder": null,
            "model": {"type": "WordLevel", "unk_token": "<unk>",
                "vocab": {"<unk>": 0, "</s>": 1, "a": 2, "b": 3, "c": 4, "d": 5}},
        });
        for (name, value) in fields.as_object().unwrap() {
            file[name] = value.clone();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TOKENIZER);
        fs::write(&path, file.to_string()).unwrap();
        Tokenizer::open(&path, max_tokens)
    }

    fn encode(tokenizer: &Tokenizer, text: &str) -> (Vec<u32>, bool) {
        let SourceTokens { ids, truncated } = tokenizer.encode(text).unwrap();
        (ids, truncated)
    }

    #[test]
    fn truncation_is_reported_with_and_without_special_tokens() {
        let none = tokenizer(false, 3, &json!({})).unwrap();
        assert_eq!(encode(&none, "a b c"), (vec![2, 3, 4], false));
        assert_eq!(encode(&none, "a b c d"), (vec![2, 3, 4], true));
        let one = tokenizer(true, 3, &json!({})).unwrap();
        assert_eq!(encode(&one, "a b"), (vec![2, 3, 1], false));
        assert_eq!(encode(&one, "a b c"), (vec![2, 3, 1], true));
        let count = |limit| one.count_source("a b c d", limit, &mut || false).unwrap();
        assert_eq!((count(9), count(2)), ((5, false), (3, true)));
        assert!(tokenizer(true, 1, &json!({})).is_err());
    }

    #[test]
    fn summaries_use_the_target_tokenizer() {
        let words = |vocab: Value| {
            let model = json!({"type": "WordLevel", "unk_token": "<unk>", "vocab": vocab});
            json!({"model": model})
        };
        let source = words(json!({"<unk>": 0, "</s>": 1, "a": 2, "b": 3}));
        let mut both = tokenizer(true, 9, &source).unwrap();
        assert_eq!(both.first_target_token("b a").unwrap(), Some(3));
        let target = words(json!({"<unk>": 0, "</s>": 1, "b": 2, "a": 3, "c": 4}));
        both.target = tokenizer(true, 9, &target).unwrap().target;
        assert_eq!(both.first_target_token("b a").unwrap(), Some(2));
        assert_eq!(both.first_target_token("").unwrap(), None);
        assert_eq!(both.decode(&[4, 2]).unwrap(), "c b");
        assert_eq!(encode(&both, "b a"), (vec![3, 2, 1], false));
    }

    #[test]
    fn the_end_of_a_text_is_kept_where_the_file_says_so() {
        let left = json!({"truncation": {"direction": "Left", "max_length": 512,
            "strategy": "LongestFirst", "stride": 0}});
        let left = tokenizer(true, 3, &left).unwrap();
        assert_eq!(encode(&left, "a b c d"), (vec![4, 5, 1], true));
        assert_eq!(encode(&left, "a b"), (vec![2, 3, 1], false));
    }

    #[test]
    fn special_tokens_in_a_text_are_text_where_the_file_says_so() {
        let plain = tokenizer(true, 9, &json!({})).unwrap();
        assert_eq!(encode(&plain, "a</s>"), (vec![2, 1, 1], false));
        let split = tokenizer(true, 9, &json!({"split_special_tokens": true})).unwrap();
        assert_eq!(encode(&split, "a</s>"), (vec![0, 1], false));
        let once = tokenizer(true, 9, &json!({"end_token_once": true})).unwrap();
        assert_eq!(encode(&once, "a</s>"), (vec![2, 1], false));
    }
}
