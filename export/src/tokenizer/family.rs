//! The tokenizer classes of transformers, and what their conversions share.

use std::path::Path;

use serde_json::{Value, json};

use super::blueprint::Blueprint;
use super::settings::Settings;
use crate::error::Result;

/// A tokenizer class of transformers that can be converted from the files it saves.
#[derive(Clone, Copy)]
pub(super) struct Class {
    /// Its name, without `Fast`.
    pub(super) name: &'static str,
    /// The files that it is made from.
    pub(super) files: &'static [&'static str],
    /// Makes it.
    pub(super) convert: fn(&Folder<'_>) -> Result<Blueprint>,
    /// When spaces before punctuation are taken out of decoded text.
    pub(super) tidying: Tidying,
}

/// How transformers 5.23 heeds `clean_up_tokenization_spaces`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tidying {
    /// Not at all: BPE models of the `tokenizers` library.
    Never,
    /// Where the settings ask for it.
    Asked,
    /// Unless the settings say no.
    UnlessRefused,
}

impl Tidying {
    /// Whether text is tidied, with these settings.
    pub(super) fn applies(self, settings: &Settings) -> Result<bool> {
        let asked = settings.flag("clean_up_tokenization_spaces", self == Self::UnlessRefused)?;
        Ok(asked && self != Self::Never)
    }
}

/// What a tokenizer is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folder<'a> {
    /// Where the files are.
    pub(super) path: &'a Path,
    /// What those beside the vocabulary say.
    pub(super) settings: &'a Settings,
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

/// A Unigram model without byte fallback: no class of transformers that is converted here has it.
pub(super) fn unigram(vocab: Vec<(String, f64)>, unknown: usize) -> Value {
    json!({"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": false})
}

/// `▁` for each space and before each stretch of text; words begin with it.
pub(super) fn metaspace() -> Value {
    json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true})
}

/// Words apart from every kind of white space, and `▁` before each.
pub(super) fn spaced_words() -> Value {
    json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace()]})
}

/// One space for a run of them.
pub(super) fn one_space() -> Value {
    json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
}
