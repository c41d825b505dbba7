//! Tokenizer classes of transformers, and shared parts of their conversions.

use std::path::Path;

use serde_json::{Value, json};

use super::settings::Settings;
use super::tokenizer_json::{Parts, PostProcessor};
use crate::error::Result;
use crate::version::Version;

/// A tokenizer class of transformers.
#[derive(Clone, Copy)]
pub(super) struct Class {
    /// Names of the class, without `Fast`.
    pub(super) names: &'static [&'static str],
    /// Files that the tokenizer is made from, if the checkpoint has no `tokenizer.json`.
    pub(super) files: &'static [&'static str],
    /// Makes the tokenizer.
    pub(super) convert: fn(&Folder<'_>) -> Result<Parts>,
    /// How the class uses a `tokenizer.json`.
    pub(super) json: Json,
    /// Whether spaces before punctuation are removed from decoded text.
    pub(super) clean_up_spaces: CleanUpSpaces,
    /// Whether no end token is added to a text that ends in one.
    pub(super) end_token_once: bool,
}

/// How a class uses a `tokenizer.json`.
#[derive(Clone, Copy)]
pub(super) enum Json {
    /// It is ignored: the class is written in Python, and reads other files.
    Ignored,
    /// 4.x reads it, and changes the parts that settings affect. 5.x uses its vocabulary and makes
    /// the other parts anew.
    Read(Change),
}

/// Parts of a `tokenizer.json` that 4.x changes, beside added tokens and `add_prefix_space`.
#[derive(Clone, Copy)]
pub(super) enum Change {
    /// No part.
    Nothing,
    /// The special tokens around the text, by `src_lang`.
    PostProcessor(fn(&Settings) -> Result<PostProcessor>),
    /// The normalizer, by `do_lower_case` and others, if it has the same type.
    Normalizer(fn(&Settings) -> Result<Value>),
}

/// How transformers uses `clean_up_tokenization_spaces`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CleanUpSpaces {
    /// Only 4.x uses it, and it is off by default: BPE models of the `tokenizers` library.
    IfSetBefore5,
    /// It is off by default.
    IfSet,
    /// It is on by default.
    ByDefault,
    /// It is on by default in 4.x, and off by default in 5.x.
    ByDefaultBefore5,
}

impl CleanUpSpaces {
    /// Whether spaces are removed with these settings.
    pub(super) fn applies(self, settings: &Settings) -> Result<bool> {
        let before_5 = settings.version == Version::V4;
        let default = self == Self::ByDefault || (self == Self::ByDefaultBefore5 && before_5);
        let set = settings.flag("clean_up_tokenization_spaces", default)?;
        Ok(set && (self != Self::IfSetBefore5 || before_5))
    }
}

/// The input of a conversion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folder<'a> {
    /// Folder of the files.
    pub(super) path: &'a Path,
    /// Settings of the files beside the vocabulary.
    pub(super) settings: &'a Settings,
    /// A `tokenizer.json` whose vocabulary is used.
    pub(super) json: Option<&'a Value>,
}

impl Folder<'_> {
    /// The version of transformers to agree with.
    pub(super) fn version(&self) -> Version {
        self.settings.version
    }
}

/// Names of fairseq's special tokens.
pub(super) const FAIRSEQ_NAMES: [(&str, &str); 6] = [
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
];

/// Replaces each space with `▁`, and prepends `▁` to text by `prepend_scheme`: `always`,
/// `first` or `never`. Words begin with `▁`.
pub(super) fn metaspace(prepend_scheme: &str) -> Value {
    json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": prepend_scheme,
           "split": true})
}

/// Splits words at white space of every kind, and prepends `▁` to each.
pub(super) fn spaced_words(prepend_scheme: &str) -> Value {
    json!({"type": "Sequence",
           "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace(prepend_scheme)]})
}

/// Replaces runs of spaces with one.
pub(super) fn one_space() -> Value {
    replace(json!({"Regex": " {2,}"}), " ")
}

/// The normalizer of most SentencePiece classes of 4.x: the model's table, no white space at the
/// end, and one `▁` for a run of spaces.
pub(super) fn sentencepiece_before_5(charsmap: Option<Value>) -> Value {
    let steps = charsmap.into_iter().chain([
        json!({"type": "Strip", "strip_left": false, "strip_right": true}),
        replace(json!({"Regex": " {2,}"}), "▁"),
    ]);
    sequence(steps.collect())
}

/// A sequence of normalizers.
pub(super) fn sequence(normalizers: Vec<Value>) -> Value {
    json!({"type": "Sequence", "normalizers": normalizers})
}

/// A normalizer or decoder that replaces a pattern with `content`.
pub(super) fn replace(pattern: Value, content: &str) -> Value {
    json!({"type": "Replace", "pattern": pattern, "content": content})
}
