//! T5 and mT5: `spiece.model`, followed by the sentinels `<extra_id_0>` and on.
//!
//! Agrees with `T5TokenizerFast` of transformers 4.57 and `T5Tokenizer` of 5.24 (`models/t5`), and
//! with `T5Converter` (`convert_slow_tokenizer.py`) of both. Neither uses byte fallback, though
//! mT5's model has byte pieces. 5.24 treats the scores of a BPE model as Unigram scores.

use serde_json::Value;

use super::class::{
    Change, Class, CleanUpSpaces, Folder, Json, metaspace, sentencepiece_before_5, spaced_words,
};
use super::settings::special;
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults};
use super::vocabulary::Pieces;
use crate::error::{Error, Result};
use crate::version::Version;

pub(super) const T5: Class = Class {
    names: &["T5Tokenizer", "MT5Tokenizer"],
    files: &["spiece.model"],
    convert,
    json: Json::Read(Change::Nothing),
    clean_up_spaces: CleanUpSpaces::IfSet,
    end_token_once: false,
};

/// Default number of sentinels.
const SENTINELS: usize = 100;
/// Id of the unknown piece that transformers expects.
const UNKNOWN: usize = 2;

fn convert(folder: &Folder<'_>) -> Result<Parts> {
    let settings = folder.settings;
    let version = folder.version();
    let names = SpecialTokens::new(
        settings,
        &defaults(&[("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")]),
    )?;
    let sentinels = settings.count("extra_ids", SENTINELS)?;
    let sentinel = |n| format!("<extra_id_{n}>");
    let pieces = Pieces::read(folder, "spiece.model", |model| {
        let mut vocab: Vec<_> = model.scored(0).collect();
        vocab.extend((0..sentinels).rev().map(|n| (sentinel(n), 0.0)));
        Ok(vocab)
    })?;
    let among_pieces =
        pieces.added.iter().filter(|token| token.content.contains("<extra_id_")).count();
    if among_pieces > 0 && sentinels > 0 && among_pieces != sentinels {
        return Err(Error::Tokenizer {
            file: "spiece.model".into(),
            problem: format!(
                "has {among_pieces} sentinels of its own, and tokenizer_config.json says \
                 {sentinels}"
            ),
        });
    }
    let all_sentinels = || (0..sentinels).map(|n| special(sentinel(n)));
    let extra = match (version, settings.extra_tokens()) {
        (Version::V4, Some(extra)) => {
            let has_sentinels = extra.iter().any(|x| x.content.contains("<extra_id_"));
            let missing = all_sentinels().filter(|_| !has_sentinels);
            extra.into_iter().chain(missing).collect()
        }
        (Version::V5, Some(extra)) => extra,
        (Version::V4, None) => all_sentinels().collect(),
        (Version::V5, None) => {
            let missing = all_sentinels().filter(|_| among_pieces == 0);
            pieces.added.iter().cloned().chain(missing).collect()
        }
    };
    let scheme = match (settings.flag("add_prefix_space", true)?, settings.flag("legacy", true)?) {
        (false, _) => "never",
        (true, false) => "first",
        (true, true) => "always",
    };
    let charsmap = pieces.charsmap.clone();
    let (normalizer, pre_tokenizer, decoder) = match version {
        Version::V4 => (sentencepiece_before_5(charsmap), metaspace(scheme), metaspace(scheme)),
        Version::V5 => {
            (charsmap.unwrap_or(Value::Null), spaced_words("always"), metaspace("always"))
        }
    };
    Ok(Parts {
        normalizer,
        pre_tokenizer,
        model: pieces.model(version, pieces.unknown(version, UNKNOWN))?,
        decoder,
        post_processor: PostProcessor::after(&["</s>"]),
        added: names.to_add(settings, pieces.added, extra),
        surplus: None,
    })
}
