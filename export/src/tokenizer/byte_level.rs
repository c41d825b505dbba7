//! Byte-level BPE with `vocab.json` and `merges.txt`: GPT-2, RoBERTa, BART, LED, MVP and
//! Blenderbot.
//!
//! Agrees with the fast classes of transformers 4.57 and the classes of 5.24 (`models/gpt2`,
//! `models/blenderbot`, and `models/roberta`, which BART, LED and MVP alias).

use serde_json::{Value, json};
use tokenizers::AddedToken;

use super::class::{Change, Class, CleanUpSpaces, FAIRSEQ_NAMES, Folder, Json};
use super::settings::special;
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults, mask};
use super::vocabulary::{MERGES, VOCAB, byte_pairs};
use crate::error::Result;
use crate::version::Version;

pub(super) const ROBERTA: Class = Class {
    names: &[
        "RobertaTokenizer",
        "LongformerTokenizer",
        "BartTokenizer",
        "LEDTokenizer",
        "MvpTokenizer",
    ],
    files: &[VOCAB, MERGES],
    convert: convert_roberta,
    json: Json::Read(Change::Nothing),
    clean_up_spaces: CleanUpSpaces::IfSetBefore5,
    end_token_once: false,
};

pub(super) const BLENDERBOT: Class =
    Class { names: &["BlenderbotTokenizer"], convert: convert_blenderbot, ..ROBERTA };

pub(super) const GPT2: Class =
    Class { names: &["GPT2Tokenizer"], convert: convert_gpt2, ..ROBERTA };

fn convert_roberta(folder: &Folder<'_>) -> Result<Parts> {
    let settings = folder.settings;
    let mut known = defaults(&FAIRSEQ_NAMES);
    known.push(match folder.version() {
        Version::V4 => mask("<mask>", false),
        Version::V5 => ("mask_token", special("<mask>")),
    });
    let names = SpecialTokens::new(settings, &known)?;
    let around =
        PostProcessor::around(&[names.required("cls_token")?], &[names.required("sep_token")?]);
    byte_level(folder, &names, settings.flag("add_prefix_space", false)?, around)
}

fn convert_blenderbot(folder: &Folder<'_>) -> Result<Parts> {
    let settings = folder.settings;
    let mut known = defaults(&FAIRSEQ_NAMES);
    known.push(mask("<mask>", false));
    let names = SpecialTokens::new(settings, &known)?;
    let (add_prefix_space, post_processor) = match folder.version() {
        Version::V4 => (false, PostProcessor::after(&[names.required("eos_token")?])),
        // 5.24 adds no tokens around the text by default.
        Version::V5 => (true, PostProcessor::of_json(folder.json, &names, settings)),
    };
    let add_prefix_space = settings.flag("add_prefix_space", add_prefix_space)?;
    byte_level(folder, &names, add_prefix_space, post_processor)
}

fn convert_gpt2(folder: &Folder<'_>) -> Result<Parts> {
    let settings = folder.settings;
    let known =
        ["bos_token", "eos_token", "unk_token"].map(|name| (name, special("<|endoftext|>")));
    let names = SpecialTokens::new(settings, &known)?;
    let post_processor = match folder.version() {
        Version::V4 if settings.flag("add_bos_token", false)? => {
            PostProcessor::around(&[names.required("bos_token")?], &[])
        }
        Version::V4 => PostProcessor::around(&[], &[]),
        Version::V5 => PostProcessor::of_json(folder.json, &names, settings),
    };
    byte_level(folder, &names, settings.flag("add_prefix_space", false)?, post_processor)
}

fn byte_level(
    folder: &Folder<'_>,
    names: &SpecialTokens,
    add_prefix_space: bool,
    post_processor: PostProcessor,
) -> Result<Parts> {
    let settings = folder.settings;
    let extra: Vec<AddedToken> = settings.extra_tokens().unwrap_or_default();
    let (vocab, merges) = byte_pairs(folder)?;
    Ok(Parts {
        normalizer: Value::Null,
        pre_tokenizer: json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space,
                              "trim_offsets": true, "use_regex": true}),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges,
        }),
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                        "use_regex": true}),
        post_processor,
        added: names.to_add(settings, Vec::new(), extra),
        surplus: None,
    })
}
