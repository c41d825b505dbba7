//! Compares with transformers' `generate` over the same table, for hundreds of random drawings of
//! all parameters.

use std::path::Path;
use std::sync::Arc;

use epitome_runtime::generation::{
    Generated, GenerationConfig, GenerationParameters, Limits, ParameterError, generate,
};
use serde_json::{Map, Value};

use crate::batches::StopAt;
use crate::table::{TableModel, as_sources};

/// Tolerance for sums of some dozens of f32 log-probabilities.
const TOLERANCE: f64 = 1e-4;

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an object")
}

fn ids(value: &Value) -> Vec<Vec<u32>> {
    serde_json::from_value(value.clone()).expect("lists of token ids")
}

/// `None` stands for a number that is not finite, which JSON cannot hold.
fn close(ours: f32, reference: Option<f64>) -> bool {
    match reference {
        Some(reference) => {
            (f64::from(ours) - reference).abs() <= TOLERANCE * reference.abs().max(1.0)
        }
        None => !ours.is_finite(),
    }
}

/// The difference between a result and the reference, if there is one.
fn departure(ours: &Generated, reference: &Value) -> Option<String> {
    let sequences: Vec<_> = ours.sequences.iter().map(|one| one.token_ids.clone()).collect();
    if sequences != ids(&reference["o"]) {
        return Some(format!("tokens {sequences:?}"));
    }
    let scores: Vec<Option<f64>> =
        serde_json::from_value(reference["s"].clone()).unwrap_or_default();
    for (one, score) in ours.sequences.iter().zip(scores) {
        if !close(one.score.expect("beam search scores"), score) {
            return Some(format!("score {:?} for {score:?}", one.score));
        }
    }
    let token_scores: Vec<Vec<Option<f64>>> =
        serde_json::from_value(reference["t"].clone()).unwrap_or_default();
    for (one, reference) in ours.sequences.iter().zip(token_scores) {
        let ours = one.token_scores.as_deref().expect("asked for");
        let agree = ours.len() == reference.len()
            && ours.iter().zip(&reference).all(|(ours, reference)| close(*ours, *reference));
        if !agree {
            return Some(format!("token scores {ours:?} for {reference:?}"));
        }
    }
    None
}

/// The configuration of a drawing. A caller's minimum length above the maximum length is an error
/// here, and a warning in transformers. It is then read as a model's default, which is no error,
/// and gives the result of transformers.
fn resolve(
    defaults: &Map<String, Value>,
    drawn: &Map<String, Value>,
    limits: Limits,
) -> GenerationConfig {
    let parameters = GenerationParameters::from_json(drawn).expect("valid");
    match GenerationConfig::resolve(defaults, &parameters, limits) {
        Ok(config) => config,
        Err(ParameterError::Contradiction { name: "min_length" | "min_new_tokens", .. }) => {
            let mut defaults = defaults.clone();
            defaults.extend(drawn.clone());
            GenerationConfig::resolve(&defaults, &GenerationParameters::default(), limits)
                .expect("the same as defaults")
        }
        Err(error) => panic!("{error}: {drawn:?}"),
    }
}

/// Whether the token scores, if there are any, add up to the scores of the sequences.
fn add_up(ours: &Generated, parameters: &Value) -> bool {
    let penalty = parameters["length_penalty"].as_f64().unwrap_or(1.0);
    ours.sequences.iter().all(|one| {
        let (Some(score), Some(scores)) = (one.score, &one.token_scores) else {
            return true;
        };
        let sum: f64 = scores.iter().map(|score| f64::from(*score)).sum();
        let expected = sum / (scores.len() as f64).powf(penalty);
        !expected.is_finite() || close(score, Some(expected))
    })
}

/// Compares every drawing of a file, and returns their number.
fn compare(file: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/goldens").join(file);
    let text = std::fs::read_to_string(path).expect("the goldens are in the repository");
    let mut lines =
        text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
    let header = lines.next().expect("a header");
    let number = |name: &str| header[name].as_u64().expect("a number") as usize;
    let limits = Limits {
        vocab_size: number("vocab"),
        max_target_positions: Some(number("positions")),
        global_attention: false,
    };
    let documents = ids(&header["sources"]);

    let mut compared = 0;
    let mut departures = Vec::new();
    for line in lines {
        let mut config = resolve(object(&header["defaults"]), object(&line["p"]), limits);
        if let Some(token) = line["x"].as_u64() {
            config = config.with_stop_strings(Arc::new(StopAt(token as u32)));
        }
        let document = line["d"].as_u64().expect("an index") as usize;
        let sources = &documents[document..=document];
        let mut model = TableModel::new(limits.vocab_size, sources, config.rows_per_document());
        let ours = generate(&mut model, &as_sources(sources), &config, &mut ())
            .unwrap_or_else(|error| panic!("{error}: {}", line["p"]));
        assert!(model.steps < config.max_length());
        assert!(add_up(&ours[0], &line["p"]), "token scores of {}", line["p"]);
        if let Some(departure) = departure(&ours[0], &line) {
            departures.push(format!("{}\n  {departure}\n  {}", line["p"], line["o"]));
        }
        compared += 1;
    }
    assert!(
        departures.is_empty(),
        "{} of {compared} depart:\n{}",
        departures.len(),
        departures.join("\n")
    );
    compared
}

#[test]
fn every_drawing_gives_the_tokens_and_scores_of_transformers() {
    let compared = compare("search.jsonl");
    assert!(compared > 400, "only {compared} goldens");
}

/// The reference is transformers 4.46.3: version 5 dropped these searches.
#[test]
fn every_drawing_of_groups_and_constraints_gives_the_tokens_and_scores_of_transformers() {
    let compared = compare("groups.jsonl");
    assert!(compared > 400, "only {compared} goldens");
}
