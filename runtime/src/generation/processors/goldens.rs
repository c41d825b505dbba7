//! Compares the filtered logits of the warpers with transformers.

use std::path::Path;

use serde_json::{Value, json};

use super::processor::Context;
use crate::generation::scoring::normalizer::{materialize, normalize};
use crate::generation::{GenerationConfig, GenerationParameters, Limits};

/// `null` stands for minus infinity.
fn row(value: &Value) -> Vec<f32> {
    let values: Vec<Option<f32>> = serde_json::from_value(value.clone()).expect("numbers");
    values.into_iter().map(|value| value.unwrap_or(f32::NEG_INFINITY)).collect()
}

#[test]
fn filtered_probabilities_are_those_of_transformers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/goldens/pegasus-relu.warpers.jsonl");
    let text = std::fs::read_to_string(path).expect("the goldens are in the repository");
    let mut lines =
        text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
    let header = lines.next().expect("a header");
    let logits: Vec<Vec<f32>> =
        header["logits"].as_array().expect("rows").iter().map(row).collect();
    let defaults = json!({"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0});
    let mut compared = 0;
    for line in lines {
        let parameters = line["parameters"].as_object().expect("an object");
        let parameters = GenerationParameters::from_json(parameters).expect("valid");
        let input = line["input"].as_u64().expect("an index") as usize;
        let mut scores = logits[input].clone();
        let limits = Limits {
            max_target_positions: None,
            vocab_size: scores.len(),
            global_attention: false,
        };
        let config =
            GenerationConfig::resolve(defaults.as_object().expect("map"), &parameters, limits)
                .expect("consistent");
        let context = Context::new(&[0], &[5, 1]);
        let mut processors = config.processors().expect("consistent");
        processors.process(&context, &mut scores);
        let normalizer = normalize(&scores, &mut Vec::new(), &mut Vec::new());
        materialize(&mut scores, normalizer);
        for (token, (ours, reference)) in scores.iter().zip(row(&line["log_probs"])).enumerate() {
            let agree =
                *ours == reference || (ours - reference).abs() <= 1e-5 * reference.abs().max(1.0);
            assert!(agree, "token {token}: {ours} for {reference} with {}", line["parameters"]);
        }
        compared += 1;
    }
    assert!(compared > 50, "only {compared} goldens");
}
