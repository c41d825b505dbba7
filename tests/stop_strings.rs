//! Tests that sequences end at stop strings like in transformers.

use std::collections::BTreeMap;
use std::fs;

use crate::common::{bundle, fixture, golden_lines, summarizer};
use epitome_runtime::Error;
use epitome_runtime::generation::{GenerationParameters, Source, generate};
use epitome_runtime::tokenizer::Tokenizer;
use serde_json::Value;

const MODEL: &str = "pegasus-relu";
/// Largest difference of a score, relative to its absolute value (or 1).
const TOLERANCE: f64 = 1e-4;

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("token ids")
}

/// The tokenizer of the tiny model, and the tokenizers of the golden.
fn tokenizers(header: &Value) -> BTreeMap<String, Tokenizer> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tokenizer.json");
    let mut made: BTreeMap<_, _> = header["tokenizers"]
        .as_object()
        .expect("tokenizers")
        .iter()
        .map(|(name, tokenizer)| {
            fs::write(&path, tokenizer.to_string()).expect("a file");
            (name.clone(), Tokenizer::open(&path, 64).expect("a tokenizer"))
        })
        .collect();
    let tiny = fixture("tiny").join(MODEL).join("tokenizer.json");
    made.insert(MODEL.to_owned(), Tokenizer::open(&tiny, 64).expect("a tokenizer"));
    made
}

#[test]
fn every_criterion_ends_where_that_of_transformers_ends() {
    let (header, cases) = golden_lines("stop_strings.jsonl");
    let tokenizers = tokenizers(&header);
    let mut ended = 0;
    for case in cases.iter().filter(|case| case.get("tokenizer").is_some()) {
        let tokenizer = &tokenizers[case["tokenizer"].as_str().expect("a name")];
        let strings: Vec<String> =
            serde_json::from_value(case["stop_strings"].clone()).expect("texts");
        let criterion = tokenizer.stop_strings(&strings);
        let Some(ends) = case["ends"].as_array() else {
            assert!(matches!(criterion, Err(Error::Parameter(_))), "{case}");
            continue;
        };
        let criterion = criterion.expect("a criterion");
        let tokens = ids(&case["ids"]);
        for (length, end) in ends.iter().enumerate() {
            let found = criterion.ends(&tokens[..=length]);
            assert_eq!(Some(found), end.as_bool(), "after {} tokens of {case}", length + 1);
            ended += usize::from(found);
        }
    }
    assert!(ended > 200, "only {ended} ends");
}

#[test]
fn every_generation_has_the_tokens_and_scores_of_transformers() {
    let (_, cases) = golden_lines("stop_strings.jsonl");
    let mut summarizer = summarizer(bundle(format!("tiny/{MODEL}")));
    for case in cases.iter().filter(|case| case.get("input").is_some()) {
        let parameters = case["parameters"].as_object().expect("parameters");
        let parameters = GenerationParameters::from_json(parameters).expect("valid");
        let config = summarizer.configure(&parameters).expect("consistent");
        let source = ids(&case["input"]);
        let (encoder, decoder) = summarizer.sessions();
        let memory = encoder.encode(&source).expect("an encoded source");
        let rows = config.rows_per_document();
        let mut decoding = decoder.start_with(vec![memory], rows).expect("a decoder");
        let generated = generate(&mut decoding, &[Source::new(&source)], &config, &mut ())
            .expect("a generation");
        let sequences = &generated[0].sequences;
        let expected: Vec<_> =
            case["sequences"].as_array().expect("a list").iter().map(ids).collect();
        let found: Vec<_> = sequences.iter().map(|one| one.token_ids.clone()).collect();
        assert_eq!(found, expected, "{case}");
        let scores: Option<Vec<f64>> =
            serde_json::from_value(case["scores"].clone()).expect("scores");
        for (sequence, expected) in sequences.iter().zip(scores.unwrap_or_default()) {
            let found = f64::from(sequence.score.expect("a score"));
            let close = (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0);
            assert!(close, "score {found} in {case}");
        }
    }
}

#[test]
fn stop_strings_that_cannot_be_written_are_refused() {
    let mut summarizer = summarizer(bundle(format!("tiny/{MODEL}")));
    let parameters =
        GenerationParameters { stop_strings: Some(vec!["漢".to_owned()]), ..Default::default() };
    let error = summarizer.summarize(&["some text"], &parameters).expect_err("nothing can end");
    let error = error.to_string();
    assert!(error.contains("`stop_strings` is a list of 1"), "{error}");
    assert!(!error.contains('漢'), "what was sent is not repeated: {error}");
}
