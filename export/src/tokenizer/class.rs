//! A tokenizer class of transformers, and what the conversions of several share.

use std::path::Path;

use serde_json::{Value, json};

use super::settings::Settings;
use super::tokenizer_json::{Parts, PostProcessor};
use crate::error::Result;
use crate::version::Version;

/// A tokenizer class of transformers.
#[derive(Clone, Copy)]
pub(super) struct Class {
    /// Its names, without `Fast`.
    pub(super) names: &'static [&'static str],
    /// The files that it is made from, where the checkpoint has no `tokenizer.json`.
    pub(super) files: &'static [&'static str],
    /// Makes it.
    pub(super) convert: fn(&Folder<'_>) -> Result<Parts>,
    /// What it makes of a `tokenizer.json`.
    pub(super) json: Json,
    /// When spaces before punctuation are taken out of decoded text.
    pub(super) clean_up_spaces: CleanUpSpaces,
    /// Whether a text that ends in the end token gets no other one.
    pub(super) end_token_once: bool,
}

/// What a class makes of a `tokenizer.json`.
#[derive(Clone, Copy)]
pub(super) enum Json {
    /// Nothing: it is written in Python, and reads its own files.
    Ignored,
    /// 4.x reads it as it is, and changes the parts that the settings speak of; 5.x takes the
    /// vocabulary from it and makes the rest anew.
    Read(Change),
}

/// What 4.x changes in a `tokenizer.json`, beside added tokens and `add_prefix_space`.
#[derive(Clone, Copy)]
pub(super) enum Change {
    /// Nothing.
    Nothing,
    /// The special tokens around the text, by `src_lang`.
    PostProcessor(fn(&Settings) -> Result<PostProcessor>),
    /// The normalizer, by `do_lower_case` and others, where it is of the same type.
    Normalizer(fn(&Settings) -> Result<Value>),
}

/// How transformers heeds `clean_up_tokenization_spaces`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CleanUpSpaces {
    /// Not at all in 5.x, where it is set in 4.x: BPE models of the `tokenizers` library.
    IfSetBefore5,
    /// Where it is set.
    IfSet,
    /// Unless it is set to false.
    ByDefault,
    /// Unless it is set to false in 4.x, where it is set in 5.x.
    ByDefaultBefore5,
}

impl CleanUpSpaces {
    /// Whether spaces are taken out, with these settings.
    pub(super) fn applies(self, settings: &Settings) -> Result<bool> {
        let before_5 = settings.version == Version::V4;
        let default = self == Self::ByDefault || (self == Self::ByDefaultBefore5 && before_5);
        let set = settings.flag("clean_up_tokenization_spaces", default)?;
        Ok(set && (self != Self::IfSetBefore5 || before_5))
    }
}

/// What a tokenizer is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folder<'a> {
    /// Where the files are.
    pub(super) path: &'a Path,
    /// What those beside the vocabulary say.
    pub(super) settings: &'a Settings,
    /// A `tokenizer.json` whose vocabulary is taken.
    pub(super) json: Option<&'a Value>,
}

impl Folder<'_> {
    /// The transformers that is followed.
    pub(super) fn version(&self) -> Version {
        self.settings.version
    }
}

/// fairseq's special tokens by name.
pub(super) const FAIRSEQ_NAMES: [(&str, &str); 6] = [
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
];

/// `▁` for each space and, by this scheme (`always`, `first`, `never`), before a stretch of text;
/// words begin with it.
pub(super) fn metaspace(prepend_scheme: &str) -> Value {
    json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": prepend_scheme, "split": true})
}

/// Words apart from every kind of white space, and `▁` before each.
pub(super) fn spaced_words(prepend_scheme: &str) -> Value {
    json!({"type": "Sequence",
           "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace(prepend_scheme)]})
}

/// One space for a run of them.
pub(super) fn one_space() -> Value {
    replace(json!({"Regex": " {2,}"}), " ")
}

/// The normalizer of most SentencePiece classes of 4.x: the model's table, no blanks at the end,
/// and one `▁` for a run of spaces.
pub(super) fn sentencepiece_before_5(charsmap: Option<Value>) -> Value {
    let steps = charsmap.into_iter().chain([
        json!({"type": "Strip", "strip_left": false, "strip_right": true}),
        replace(json!({"Regex": " {2,}"}), "▁"),
    ]);
    sequence(steps.collect())
}

/// A normalizer of several.
pub(super) fn sequence(normalizers: Vec<Value>) -> Value {
    json!({"type": "Sequence", "normalizers": normalizers})
}

/// A normalizer or decoder that puts `content` in the place of a pattern.
pub(super) fn replace(pattern: Value, content: &str) -> Value {
    json!({"type": "Replace", "pattern": pattern, "content": content})
}
