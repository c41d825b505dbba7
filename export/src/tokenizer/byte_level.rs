//! Byte-level BPE: `vocab.json` and `merges.txt`, as BART, LED, MVP and Blenderbot have them.
//!
//! Agrees with `RobertaTokenizer` (which BART's is another name of) and `BlenderbotTokenizer`
//! (`models/roberta/tokenization_roberta.py`, `models/blenderbot/tokenization_blenderbot.py`) of
//! transformers 5.23.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use serde_json::{Map, Value, json};
use tokenizers::AddedToken;

use super::blueprint::{Blueprint, Frame, SpecialTokens, defaults};
use super::family::{Class, FAIRSEQ_NAMES, Folder, Tidying};
use super::settings::{object, special};
use crate::error::{Error, Result};

const FILES: &[&str] = &[VOCAB, MERGES];
pub(super) const VOCAB: &str = "vocab.json";
pub(super) const MERGES: &str = "merges.txt";

/// Every class that is RoBERTa's under another name.
pub(super) const ROBERTA: [Class; 4] = [
    roberta("RobertaTokenizer"),
    roberta("BartTokenizer"),
    roberta("LEDTokenizer"),
    roberta("MvpTokenizer"),
];

pub(super) const BLENDERBOT: Class = Class {
    name: "BlenderbotTokenizer",
    files: FILES,
    convert: convert_blenderbot,
    tidying: Tidying::Never,
};

const fn roberta(name: &'static str) -> Class {
    Class {
        name,
        files: FILES,
        convert: convert_roberta,
        tidying: Tidying::Never,
    }
}

fn convert_roberta(folder: &Folder<'_>) -> Result<Blueprint> {
    let settings = folder.settings;
    let mut known = defaults(&FAIRSEQ_NAMES);
    known.push(("mask_token", special("<mask>")));
    let names = SpecialTokens::new(settings, &known)?;
    let add_prefix_space = settings.flag("add_prefix_space", false)?;
    let frame = Frame::Roberta {
        cls: names.required("cls_token")?.to_owned(),
        sep: names.required("sep_token")?.to_owned(),
        add_prefix_space,
        trim_offsets: settings.flag("trim_offsets", true)?,
    };
    byte_level(folder, &names, add_prefix_space, frame)
}

fn convert_blenderbot(folder: &Folder<'_>) -> Result<Blueprint> {
    let settings = folder.settings;
    let mut known = defaults(&FAIRSEQ_NAMES);
    let mask = AddedToken {
        lstrip: true,
        ..special("<mask>")
    };
    known.push(("mask_token", mask));
    let names = SpecialTokens::new(settings, &known)?;
    // transformers 5.23 puts nothing around the text unless it is told to.
    let framed = |flag: &str, name: &str| -> Result<Vec<String>> {
        match settings.flag(flag, false)? {
            true => Ok(vec![names.required(name)?.to_owned()]),
            false => Ok(Vec::new()),
        }
    };
    let frame = Frame::Tokens {
        before: framed("add_bos_token", "bos_token")?,
        after: framed("add_eos_token", "eos_token")?,
    };
    byte_level(
        folder,
        &names,
        settings.flag("add_prefix_space", true)?,
        frame,
    )
}

fn byte_level(
    folder: &Folder<'_>,
    names: &SpecialTokens,
    add_prefix_space: bool,
    frame: Frame,
) -> Result<Blueprint> {
    let settings = folder.settings;
    let extra = settings.extra_tokens().unwrap_or_default();
    Ok(Blueprint {
        normalizer: Value::Null,
        pre_tokenizer: json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space,
                              "trim_offsets": true, "use_regex": true}),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary(folder.path, VOCAB)?, "merges": merges(folder.path)?,
        }),
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                        "use_regex": true}),
        frame,
        added: names.to_add(settings, extra),
        surplus: None,
    })
}

/// Reads a vocabulary: an object of pieces and ids, no id twice.
pub(super) fn vocabulary(folder: &Path, name: &str) -> Result<Map<String, Value>> {
    let wrong = |problem: String| Error::Tokenizer {
        file: name.into(),
        problem,
    };
    let vocab = object(folder, name)?.ok_or_else(|| wrong("is missing".into()))?;
    let mut ids = BTreeSet::new();
    for (piece, id) in &vocab {
        let small = id.as_u64().filter(|id| *id < u64::from(u32::MAX));
        if !small.is_some_and(|id| ids.insert(id)) {
            return Err(wrong(format!(
                "gives the piece '{piece}' the id {id}, and ids must be whole numbers, each once"
            )));
        }
    }
    Ok(vocab)
}

/// Reads the merges, best first: two pieces a line, after a first line that names the version.
pub(super) fn merges(folder: &Path) -> Result<Vec<(String, String)>> {
    let path = folder.join(MERGES);
    let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => Error::Tokenizer {
            file: MERGES.into(),
            problem: "is not UTF-8".into(),
        },
        _ => Error::io(&path, source),
    })?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with("#version"))
        .map(|(number, line)| {
            line.split_once(' ')
                .filter(|(_, right)| !right.contains(' '))
                .map(|(left, right)| (left.to_owned(), right.to_owned()))
                .ok_or_else(|| Error::Tokenizer {
                    file: MERGES.into(),
                    problem: format!("has no two pieces in line {}", number + 1),
                })
        })
        .collect()
}
