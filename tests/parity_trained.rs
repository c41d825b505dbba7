//! Compares the trained model, from its archive to the text, with all goldens that transformers
//! made with it.

use std::fs;

use crate::common::{bundle, fixture, summarizer};
use epitome_runtime::GenerationParameters;
use serde_json::Value;

/// Largest difference of a score.
const TOLERANCE: f64 = 1e-4;

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().expect("a list of token ids");
    ids.iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn the_trained_model_says_what_transformers_says() {
    let golden = fs::read(fixture("goldens/pegasus-debian.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let documents = golden["documents"].as_array().unwrap();
    let mut summarizer = summarizer(bundle("pegasus-debian.tar.gz"));

    let texts: Vec<String> = documents
        .iter()
        .map(|document| fs::read_to_string(fixture(document["file"].as_str().unwrap())).unwrap())
        .collect();
    for (text, document) in texts.iter().zip(documents) {
        let tokens = summarizer.tokenizer().encode(text).unwrap();
        assert_eq!(tokens.ids, ids(&document["input_ids"]), "{}", document["file"]);
    }

    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 100, "only {} cases", cases.len());
    for case in cases {
        let text = &texts[case["document"].as_u64().unwrap() as usize];
        let parameters =
            GenerationParameters::from_json(case["parameters"].as_object().unwrap()).unwrap();
        let summary = summarizer.summarize(&[text], &parameters).unwrap().remove(0);
        let sequence = &summary.sequences[0];
        assert_eq!(sequence.token_ids, ids(&case["token_ids"]), "{case}");
        assert_eq!(sequence.text, case["text"].as_str().unwrap(), "{case}");
        if let Some(score) = case["score"].as_f64() {
            let found = f64::from(sequence.score.expect("beam search has a score"));
            assert!((found - score).abs() <= TOLERANCE, "{case}\n  found {found}");
        }
    }
}
