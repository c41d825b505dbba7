//! BARTpho: `sentencepiece.bpe.model` splits text, and `dict.txt` lists the model's pieces.
//!
//! Agrees with `BartphoTokenizer` (`models/bartpho/tokenization_bartpho.py`) of transformers 4.57
//! and 5.24, which runs SentencePiece itself.

use serde_json::{Value, json};

use super::class::{Class, CleanUpSpaces, FAIRSEQ_NAMES, Folder, Json};
use super::sentencepiece::SentencePieceModel;
use super::sentencepiece_processor::{Ids, decoder, must_be_plain};
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults, mask};
use super::vocabulary::read_text;
use crate::error::Result;

const SENTENCEPIECE: &str = "sentencepiece.bpe.model";
/// The model's pieces, one on each line, and how often each occurs.
const DICTIONARY: &str = "dict.txt";

pub(super) const BARTPHO: Class = Class {
    names: &["BartphoTokenizer"],
    files: &[SENTENCEPIECE, DICTIONARY],
    convert,
    json: Json::Ignored,
    clean_up_spaces: CleanUpSpaces::IfSet,
    end_token_once: false,
};

fn convert(folder: &Folder<'_>) -> Result<Parts> {
    let settings = folder.settings;
    let model = SentencePieceModel::read(folder.path, SENTENCEPIECE)?;
    must_be_plain(&model, "BARTpho")?;
    let mut known = defaults(&FAIRSEQ_NAMES);
    known.push(mask("<mask>", true));
    let names = SpecialTokens::new(settings, &known)?;
    let mut tokens: Vec<String> = Vec::new();
    let order = ["bos_token", "pad_token", "eos_token", "unk_token", "sep_token", "cls_token"];
    let mut seen = std::collections::BTreeSet::new();
    let mut push = |token: &str| {
        if seen.insert(token.to_owned()) {
            tokens.push(token.to_owned());
        }
    };
    for name in order {
        push(names.required(name)?);
    }
    let dictionary = read_text(folder.path, DICTIONARY)?;
    dictionary.lines().filter_map(|line| line.split_whitespace().next()).for_each(&mut push);
    push(names.required("mask_token")?);

    let extra = settings.extra_tokens().unwrap_or_default();
    let added = names.to_add(settings, Vec::new(), extra);
    let ids = Ids::new(tokens.into_iter().zip(0..).collect(), settings, &added);
    let from = ids.end() + added.len();
    let (cut, surplus) = ids.model(&model, from, names.required("unk_token")?)?;
    Ok(Parts {
        normalizer: json!(model.normalizer),
        pre_tokenizer: Value::Null,
        model: cut,
        decoder: decoder(folder.version(), &added),
        post_processor: PostProcessor::around(
            &[names.required("cls_token")?],
            &[names.required("sep_token")?],
        ),
        added,
        surplus,
    })
}
