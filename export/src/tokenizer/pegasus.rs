//! PEGASUS: `spiece.model`, moved up by special tokens that only its pretraining used.
//!
//! Agrees with `PegasusTokenizer` (`models/pegasus/tokenization_pegasus.py`) and
//! `PegasusConverter.convert_from_spm` (`convert_slow_tokenizer.py`) of transformers 5.23.

use serde_json::json;

use super::blueprint::{Blueprint, Frame, SpecialTokens, defaults};
use super::family::{Class, Folder, Tidying, metaspace, one_space, unigram};
use super::sentencepiece::SentencePieceModel;
use super::settings::special;
use crate::error::Result;

pub(super) const PEGASUS: Class = Class {
    name: "PegasusTokenizer",
    files: &["spiece.model"],
    convert,
    tidying: Tidying::Asked,
};

/// Pieces of the model (`<pad>`, `</s>`) that come before those special tokens.
const REPLACED: usize = 2;
/// Special tokens between the named ones and the pieces.
const OFFSET: usize = 103;

fn convert(folder: &Folder<'_>) -> Result<Blueprint> {
    let settings = folder.settings;
    let model = SentencePieceModel::read(folder.path, "spiece.model")?;
    model.must_be_unigram("PegasusTokenizer")?;
    model.must_begin_with_special(REPLACED)?;
    let names = SpecialTokens::new(
        settings,
        &defaults(&[
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
            ("mask_token", "<mask_2>"),
        ]),
    )?;
    let eos = names.required("eos_token")?;
    let unk = names.required("unk_token")?;
    let offset = settings.count("offset", OFFSET)?;
    let fillers: Vec<String> = (2..offset).map(|n| format!("<unk_{n}>")).collect();

    let mut vocab = vec![
        (names.required("pad_token")?.to_owned(), 0.0),
        (eos.to_owned(), 0.0),
    ];
    // Where the settings name no masks, the converter puts the sentence mask first, as PEGASUS was
    // trained; where they do, it puts the word mask first. Both only stand for their own names.
    let masks = [("mask_token", "<mask_1>"), ("mask_token_sent", "<mask_2>")];
    for (name, default) in masks {
        let mask = match (settings.has(name), name) {
            (false, _) => Some(default.to_owned()),
            (true, "mask_token") => names.text(name).map(str::to_owned),
            (true, _) => settings.text(name).map(str::to_owned),
        };
        if let Some(mask) = mask
            && !vocab.iter().skip(2).any(|(known, _)| *known == mask)
        {
            vocab.push((mask, 0.0));
        }
    }
    vocab.extend(fillers.iter().map(|filler| (filler.clone(), -100.0)));
    vocab.extend(model.scored(REPLACED));
    let unknown = vocab
        .iter()
        .position(|(piece, score)| piece == unk && *score == 0.0)
        .ok_or_else(|| model.wrong(format!("lacks the unknown piece '{unk}' under id 2")))?;

    let extra = settings.extra_tokens().unwrap_or_else(|| {
        let sentence_mask = match settings.has("mask_token_sent") {
            true => settings.text("mask_token_sent"),
            false => Some("<mask_1>"),
        };
        let fillers = fillers.iter().map(String::as_str);
        sentence_mask
            .into_iter()
            .chain(fillers)
            .map(special)
            .collect()
    });
    let normalizers = match model.charsmap() {
        Some(charsmap) => [charsmap, one_space()],
        None => [
            json!({"type": "Replace", "pattern": {"Regex": "\n"}, "content": " "}),
            one_space(),
        ],
    };
    Ok(Blueprint {
        normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
        pre_tokenizer: metaspace(),
        model: unigram(vocab, unknown),
        decoder: metaspace(),
        frame: Frame::after(&[eos]),
        added: names.to_add(settings, extra),
        surplus: None,
    })
}
