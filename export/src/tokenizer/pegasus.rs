//! PEGASUS: `spiece.model`, whose ids are shifted by special tokens of the pretraining.
//!
//! Agrees with `PegasusTokenizerFast` of transformers 4.57 and `PegasusTokenizer` of 5.24
//! (`models/pegasus`), and with `PegasusConverter` (`convert_slow_tokenizer.py`) of both.

use serde_json::json;

use super::class::{
    Change, Class, CleanUpSpaces, Folder, Json, metaspace, one_space, replace,
    sentencepiece_before_5, sequence, spaced_words,
};
use super::sentencepiece::SentencePieceModel;
use super::settings::special;
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults};
use super::vocabulary::Pieces;
use crate::error::Result;
use crate::version::Version;

pub(super) const PEGASUS: Class = Class {
    names: &["PegasusTokenizer"],
    files: &["spiece.model"],
    convert,
    json: Json::Read(Change::Nothing),
    clean_up_spaces: CleanUpSpaces::IfSet,
    end_token_once: false,
};

/// Number of the model's pieces (`<pad>`, `</s>`) before those special tokens.
const REPLACED: usize = 2;
/// Number of special tokens between the named ones and the pieces.
const OFFSET: usize = 103;

fn convert(folder: &Folder<'_>) -> Result<Parts> {
    let settings = folder.settings;
    let version = folder.version();
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
    let sentence_mask = match settings.has("mask_token_sent") {
        true => settings.text("mask_token_sent"),
        false => Some("<mask_1>"),
    };

    let order = |model: &SentencePieceModel| {
        model.must_begin_with_special(REPLACED)?;
        let mut vocab = vec![(names.required("pad_token")?.to_owned(), 0.0), (eos.to_owned(), 0.0)];
        for mask in masks(version, folder, &names, sentence_mask) {
            if !vocab.iter().skip(2).any(|(known, _)| *known == mask) {
                vocab.push((mask, 0.0));
            }
        }
        vocab.extend(fillers.iter().map(|filler| (filler.clone(), -100.0)));
        vocab.extend(model.scored(REPLACED));
        Ok(vocab)
    };
    let pieces = Pieces::read(folder, "spiece.model", order)?;
    let unknown =
        pieces.list.iter().position(|(piece, score)| piece == unk && *score == 0.0).ok_or_else(
            || crate::error::Error::Tokenizer {
                file: "spiece.model".into(),
                problem: format!("lacks the unknown piece '{unk}' under id 2"),
            },
        )?;

    let extra = || {
        let fillers = fillers.iter().map(String::as_str);
        let extra = sentence_mask.into_iter().chain(fillers);
        extra.map(special).collect()
    };
    let (normalizer, pre_tokenizer) = match (version, pieces.charsmap.clone()) {
        (Version::V4, charsmap) => (sentencepiece_before_5(charsmap), spaced_words("always")),
        (Version::V5, Some(charsmap)) => {
            (sequence(vec![charsmap, one_space()]), metaspace("always"))
        }
        (Version::V5, None) => {
            let line_ends = replace(json!({"Regex": "\n"}), " ");
            (sequence(vec![line_ends, one_space()]), metaspace("always"))
        }
    };
    Ok(Parts {
        normalizer,
        pre_tokenizer,
        model: pieces.model(version, unknown)?,
        decoder: metaspace("always"),
        post_processor: PostProcessor::after(&[eos]),
        added: names.to_add(settings, pieces.added, settings.extra_tokens().unwrap_or_else(extra)),
        surplus: None,
    })
}

/// The mask tokens in the order of the vocabulary. The sentence mask is the first, as in PEGASUS's
/// training. In 5.x the word mask is the first if the settings name them.
fn masks(
    version: Version,
    folder: &Folder<'_>,
    names: &SpecialTokens,
    sentence_mask: Option<&str>,
) -> Vec<String> {
    let settings = folder.settings;
    let word_mask = names.text("mask_token");
    // A slow tokenizer of 4.x wrote this, which 5.x would read in the wrong order.
    let first = settings.added_tokens().get(&(REPLACED as u32));
    let is_slow = first.is_some_and(|token| Some(token.content.as_str()) == sentence_mask);
    let masks = match version {
        _ if is_slow => [sentence_mask, word_mask],
        Version::V4 => [sentence_mask, word_mask],
        Version::V5 => {
            let named = |name, text, default| match settings.has(name) {
                true => text,
                false => Some(default),
            };
            [
                named("mask_token", word_mask, "<mask_1>"),
                named("mask_token_sent", sentence_mask, "<mask_2>"),
            ]
        }
    };
    masks.into_iter().flatten().map(str::to_owned).collect()
}
