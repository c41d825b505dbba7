//! Token ids and scores of every golden made with transformers' `generate`.

mod common;

use common::{Exported, golden_lines, tiny_checkpoints};
use epitome_runtime::Summarizer;
use epitome_runtime::generation::{GenerationParameters, Source, generate};
use serde_json::Value;

/// Largest difference of a score, relative to its size (or 1): with a negative length_penalty a score
/// is a sum times a length, and float32 holds seven digits of it.
const TOLERANCE: f64 = 1e-4;

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

/// Compares every case of a golden file; the first few failures are given, and their number.
fn compare(model: &str, file: &str) -> Result<(), String> {
    let (header, cases) = golden_lines(file);
    let sources: Vec<Vec<u32>> = header["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(ids)
        .collect();
    let exported =
        Exported::attempt(format!("tiny/{model}")).map_err(|error| format!("{model}: {error}"))?;
    let mut summarizer = Summarizer::open(exported.path()).unwrap();
    let mut failures = Vec::new();
    for case in &cases {
        let source = &sources[case["input"].as_u64().unwrap() as usize];
        let parameters =
            GenerationParameters::from_json(case["parameters"].as_object().unwrap()).unwrap();
        let config = summarizer.configure(&parameters);
        if parameters.min_length > parameters.max_length && parameters.max_length.is_some() {
            // transformers warns and goes on with what cannot be; we say so.
            assert!(config.is_err(), "{case}");
            continue;
        }
        let config = config.unwrap();
        let (encoder, decoder) = summarizer.sessions();
        let memory = encoder.encode(source).unwrap();
        let mut decoding = decoder
            .start(
                vec![memory],
                config.rows_per_document(),
                config.max_length(),
            )
            .unwrap();
        let generated = generate(&mut decoding, &[Source::new(source)], &config, &mut ()).unwrap();
        let found: Vec<_> = generated[0]
            .sequences
            .iter()
            .map(|s| s.token_ids.clone())
            .collect();
        let expected: Vec<_> = case["sequences"]
            .as_array()
            .unwrap()
            .iter()
            .map(ids)
            .collect();
        if found != expected {
            failures.push(format!("{case}\n  found {found:?}"));
            continue;
        }
        let Some(scores) = case.get("scores").and_then(Value::as_array) else {
            continue;
        };
        for (sequence, expected) in generated[0].sequences.iter().zip(scores) {
            let found = sequence.score.map(f64::from);
            let close = found.is_some_and(|s| near(s, expected.as_f64().unwrap()));
            if !close {
                failures.push(format!("{case}\n  found score {found:?}"));
            }
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{file}: {} of {} cases differ:\n{}",
        failures.len(),
        cases.len(),
        failures[..failures.len().min(5)].join("\n")
    ))
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0)
}

#[test]
fn every_generate_golden_has_the_same_token_ids_and_scores() {
    let failures: Vec<String> = tiny_checkpoints("")
        .iter()
        .filter_map(|model| compare(model, &format!("{model}.generate.jsonl")).err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_processor_golden_has_the_same_token_ids_and_scores() {
    if let Err(failures) = compare("pegasus-relu", "pegasus-relu.processors.jsonl") {
        panic!("{failures}");
    }
}
