//! ALBERT: `spiece.model` over text in lower case and without accents.
//!
//! Agrees with `AlbertTokenizerFast` of transformers 4.57 and `AlbertTokenizer` of 5.24
//! (`models/albert`), and with `AlbertConverter` (`convert_slow_tokenizer.py`).

use serde_json::json;

use super::class::{
    Change, Class, CleanUpSpaces, Folder, Json, metaspace, one_space, replace, sequence,
    spaced_words,
};
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults, mask};
use super::vocabulary::Pieces;
use crate::error::Result;
use crate::version::Version;

pub(super) const ALBERT: Class = Class {
    names: &["AlbertTokenizer"],
    files: &["spiece.model"],
    convert,
    json: Json::Read(Change::Nothing),
    clean_up_spaces: CleanUpSpaces::IfSet,
    end_token_once: false,
};

/// Id of the unknown piece of ALBERT.
const UNKNOWN: usize = 1;

fn convert(folder: &Folder<'_>) -> Result<Parts> {
    let settings = folder.settings;
    let version = folder.version();
    let mut known = defaults(&[
        ("bos_token", "[CLS]"),
        ("eos_token", "[SEP]"),
        ("unk_token", "<unk>"),
        ("sep_token", "[SEP]"),
        ("pad_token", "<pad>"),
        ("cls_token", "[CLS]"),
    ]);
    known.push(mask("[MASK]", false));
    let names = SpecialTokens::new(settings, &known)?;
    let pieces = Pieces::read(folder, "spiece.model", |model| {
        let mut pieces: Vec<(String, f64)> = model.scored(0).collect();
        if version == Version::V4 {
            for (piece, score) in &mut pieces {
                *score -= if ends_with_digit_and_comma(piece) { 100.0 } else { 0.0 };
            }
        }
        Ok(pieces)
    })?;

    let quotes = ["``", "''"].map(|quotes| replace(json!({"String": quotes}), "\""));
    let mut steps: Vec<_> = quotes.into_iter().collect();
    if !settings.flag("keep_accents", false)? {
        steps.extend([json!({"type": "NFKD"}), json!({"type": "StripAccents"})]);
    }
    if settings.flag("do_lower_case", true)? {
        steps.push(json!({"type": "Lowercase"}));
    }
    steps.extend(pieces.charsmap.clone());
    let scheme = match version == Version::V4 || settings.flag("add_prefix_space", true)? {
        true => "always",
        false => "never",
    };
    let pre_tokenizer = match version {
        Version::V4 => {
            steps.push(one_space());
            metaspace(scheme)
        }
        Version::V5 => spaced_words(scheme),
    };
    let around = PostProcessor::around(&["[CLS]"], &["[SEP]"]);
    let post_processor = match (version, folder.json) {
        (Version::V5, Some(_)) => PostProcessor::of_json(folder.json, &names, settings),
        _ => around,
    };
    let own = || match version {
        Version::V4 => Vec::new(),
        Version::V5 => pieces.added.clone(),
    };
    let extra = settings.extra_tokens().unwrap_or_else(own);
    Ok(Parts {
        normalizer: sequence(steps),
        pre_tokenizer,
        model: pieces.model(version, pieces.unknown(version, UNKNOWN))?,
        decoder: metaspace(scheme),
        post_processor,
        added: names.to_add(settings, pieces.added.clone(), extra),
        surplus: None,
    })
}

/// Whether ALBERT never uses a piece: its classes split `2019,` into two.
fn ends_with_digit_and_comma(piece: &str) -> bool {
    let mut last = piece.chars().rev();
    last.next() == Some(',') && last.next().is_some_and(char::is_numeric)
}
