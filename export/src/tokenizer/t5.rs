//! T5, mT5 and their kin: `spiece.model`, followed by the sentinels `<extra_id_0>` and on.
//!
//! Agrees with `T5Tokenizer` (`models/t5/tokenization_t5.py`) and `T5Converter.convert_from_spm`
//! (`convert_slow_tokenizer.py`) of transformers 5.23. It does not fall back to bytes, though
//! mT5's model has them.

use serde_json::Value;

use super::blueprint::{Blueprint, Frame, SpecialTokens, defaults};
use super::family::{Class, Folder, Tidying, metaspace, spaced_words, unigram};
use super::sentencepiece::{Kind, SentencePieceModel};
use super::settings::special;
use crate::error::Result;

pub(super) const T5: Class = Class {
    name: "T5Tokenizer",
    files: &["spiece.model"],
    convert,
    tidying: Tidying::Asked,
};

/// Sentinels, where the settings do not count them.
const SENTINELS: usize = 100;
/// Where transformers expects the unknown piece.
const UNKNOWN: usize = 2;

fn convert(folder: &Folder<'_>) -> Result<Blueprint> {
    let settings = folder.settings;
    let model = SentencePieceModel::read(folder.path, "spiece.model")?;
    model.must_be_unigram("T5Tokenizer")?;
    if model.pieces.get(UNKNOWN).map(|piece| piece.kind) != Some(Kind::Unknown) {
        return Err(model.wrong("does not have the unknown piece under id 2, as T5's models do"));
    }
    let names = SpecialTokens::new(
        settings,
        &defaults(&[
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
        ]),
    )?;
    let sentinels = settings.count("extra_ids", SENTINELS)?;
    let sentinel = |n| format!("<extra_id_{n}>");
    let own = || model.added_pieces();
    let among_pieces = own()
        .filter(|token| token.content.contains("<extra_id_"))
        .count();
    if among_pieces > 0 && sentinels > 0 && among_pieces != sentinels {
        return Err(model.wrong(format!(
            "has {among_pieces} sentinels of its own, and tokenizer_config.json says {sentinels}"
        )));
    }
    let mut vocab: Vec<_> = model.scored(0).collect();
    vocab.extend((0..sentinels).rev().map(|n| (sentinel(n), 0.0)));
    let extra = settings.extra_tokens().unwrap_or_else(|| {
        let added = (0..sentinels).filter(|_| among_pieces == 0);
        own().chain(added.map(|n| special(sentinel(n)))).collect()
    });
    Ok(Blueprint {
        normalizer: model.charsmap().unwrap_or(Value::Null),
        pre_tokenizer: spaced_words(),
        model: unigram(vocab, UNKNOWN),
        decoder: metaspace(),
        frame: Frame::after(&["</s>"]),
        added: names.to_add(settings, extra),
        surplus: None,
    })
}
