//! FSMT: refused without a `tokenizer.json`.
//!
//! `FSMTTokenizer` (`models/fsmt/tokenization_fsmt.py`) of transformers 4.57 and 5.24 cuts words by
//! Moses' rules and puts them together by others (`sacremoses`: nonbreaking prefixes of each
//! language, escapes, quotation marks by parity), and reads and writes in two vocabularies. One
//! `tokenizer.json` holds one vocabulary, and has no part that could say those rules.

use super::class::{Change, Class, CleanUpSpaces, Json};
use crate::error::Error;

const SOURCE: &str = "vocab-src.json";

pub(super) const FSMT: Class = Class {
    names: &["FSMTTokenizer"],
    files: &[SOURCE, "vocab-tgt.json", "merges.txt"],
    convert: |_| {
        Err(Error::Tokenizer {
            file: SOURCE.into(),
            problem: "belongs to an FSMTTokenizer, whose Moses rules and separate vocabularies no \
                      tokenizer.json can say: give the checkpoint a tokenizer.json of its own"
                .into(),
        })
    },
    json: Json::Read(Change::Nothing),
    clean_up_spaces: CleanUpSpaces::IfSet,
    end_token_once: false,
};
