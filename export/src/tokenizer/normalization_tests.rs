//! Compares SentencePiece's normalizer with the goldens of `fixtures/make_normalizer_goldens.py`.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};

use epitome_runtime::tokenizer::parts;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::{NormalizedString, Normalizer};

/// Variable that names other goldens, of 10,000 lines: see `make_normalizer_goldens.py --to`.
const OTHER_GOLDENS: &str = "EPITOME_NORMALIZATION_GOLDENS";

#[derive(Deserialize)]
struct Goldens {
    lines: Vec<String>,
    goldens: Vec<Golden>,
}

/// The expected results of a normalizer.
#[derive(Deserialize)]
struct Golden {
    rule: String,
    /// Absent if it equals that of the previous golden.
    precompiled_charsmap: Value,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    normalized: Vec<String>,
}

#[test]
fn normalization_is_sentencepiece_s() {
    let own = || {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tokenizers/normalization.json.gz")
    };
    let path = env::var_os(OTHER_GOLDENS).map_or_else(own, PathBuf::from);
    let file = GzDecoder::new(File::open(path).unwrap());
    let Goldens { lines, goldens } = serde_json::from_reader(file).unwrap();
    let mut table = Value::Null;
    let mut wrong = 0;
    for golden in goldens {
        if !golden.precompiled_charsmap.is_null() || golden.rule == "identity" {
            table = golden.precompiled_charsmap;
        }
        let normalizer = parts::normalizer(json!({
            "type": "SentencePiece", "precompiled_charsmap": table,
            "add_dummy_prefix": golden.add_dummy_prefix,
            "remove_extra_whitespaces": golden.remove_extra_whitespaces,
        }));
        let normalizer = normalizer.unwrap().unwrap();
        let mut differ = 0;
        for (line, expected) in lines.iter().zip(&golden.normalized) {
            let mut text = NormalizedString::from(line.as_str());
            normalizer.normalize(&mut text).unwrap();
            if text.get() != expected {
                differ += 1;
                if differ <= 5 {
                    let found = text.get();
                    eprintln!("{}: {line:?}\n    {found:?}\n    {expected:?}", golden.rule);
                }
            }
        }
        eprintln!("{}: {differ} of {} lines differ", golden.rule, lines.len());
        wrong += differ;
    }
    assert_eq!(wrong, 0);
}
