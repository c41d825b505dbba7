//! Gemma's tokenizer, used by T5Gemma: BPE with byte fallback, on text with `▁` for spaces.
//!
//! Agrees with `GemmaTokenizerFast` of transformers 4.57 and `GemmaTokenizer` of 5.24
//! (`models/gemma`). Every such checkpoint has a `tokenizer.json`, which gives the vocabulary.

use serde_json::{Value, json};

use super::class::{Change, Class, CleanUpSpaces, Folder, Json, replace};
use super::settings::Settings;
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults};
use super::vocabulary::byte_pairs;
use crate::error::{Error, Result};

const FILE: &str = "tokenizer.model";

pub(super) const GEMMA: Class = Class {
    names: &["GemmaTokenizer"],
    files: &[FILE],
    convert,
    json: Json::Read(Change::PostProcessor(post_processor)),
    clean_up_spaces: CleanUpSpaces::IfSetBefore5,
    end_token_once: false,
};

fn names(settings: &Settings) -> Result<SpecialTokens> {
    let names = [
        ("bos_token", "<bos>"),
        ("eos_token", "<eos>"),
        ("unk_token", "<unk>"),
        ("pad_token", "<pad>"),
        ("mask_token", "<mask>"),
    ];
    SpecialTokens::new(settings, &defaults(&names))
}

fn convert(folder: &Folder<'_>) -> Result<Parts> {
    if folder.json.is_none() {
        return Err(Error::Tokenizer {
            file: FILE.into(),
            problem: "belongs to a GemmaTokenizer, which is read from a tokenizer.json: save it \
                      with transformers' AutoTokenizer"
                .into(),
        });
    }
    let settings = folder.settings;
    let names = names(settings)?;
    let extra = settings.extra_tokens().unwrap_or_default();
    let (vocab, merges) = byte_pairs(folder)?;
    let spaces = |from: &str, to: &str| replace(json!({"String": from}), to);
    let bytes = [json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
    let decoders: Vec<Value> = [spaces("▁", " ")].into_iter().chain(bytes).collect();
    Ok(Parts {
        normalizer: spaces(" ", "▁"),
        pre_tokenizer: json!({"type": "Split", "pattern": {"String": " "},
                              "behavior": "MergedWithPrevious", "invert": false}),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": names.required("unk_token")?,
            "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": merges,
        }),
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        post_processor: PostProcessor::of_json(folder.json, &names, settings),
        added: names.to_add(settings, Vec::new(), extra),
        surplus: None,
    })
}

/// By default the begin token before a text, and no token behind it.
fn post_processor(settings: &Settings) -> Result<PostProcessor> {
    let names = names(settings)?;
    let token = |flag, default, name| -> Result<Vec<&str>> {
        Ok(match settings.flag(flag, default)? {
            true => vec![names.required(name)?],
            false => Vec::new(),
        })
    };
    let before = token("add_bos_token", true, "bos_token")?;
    Ok(PostProcessor::around(&before, &token("add_eos_token", false, "eos_token")?))
}
