//! Tests of `prompt_lookup_num_tokens`: the result is that of greedy search, in fewer decoder steps
//! if text is copied.
//!
//! Logits of several tokens in one step are bit for bit those of single steps.

use std::fs;

use crate::common::{bundle, bundle_in, fixture, golden_lines, summarizer, tiny_checkpoints};
use epitome_runtime::Summarizer;
use epitome_runtime::bundle::Precision;
use epitome_runtime::generation::{Feed, GenerationParameters, Rows, Source, StepModel, generate};
use epitome_runtime::session::Decoding;
use serde_json::{Map, Value, json};

fn with_lookup(parameters: &Map<String, Value>, tokens: usize) -> GenerationParameters {
    let mut parameters = parameters.clone();
    parameters.insert("prompt_lookup_num_tokens".into(), tokens.into());
    GenerationParameters::from_json(&parameters).unwrap()
}

/// Token ids and decoder steps.
fn run(
    summarizer: &mut Summarizer,
    source: &[u32],
    parameters: &GenerationParameters,
) -> (Vec<u32>, usize) {
    let config = summarizer.configure(parameters).unwrap();
    let (encoder, decoder) = summarizer.sessions();
    let memory = encoder.encode_with(source, config.global_attention_mask()).unwrap();
    let mut decoding = decoder.start_with(vec![memory], 1).unwrap();
    let mut generated = generate(&mut decoding, &[Source::new(source)], &config, &mut ()).unwrap();
    let generated = generated.remove(0);
    (generated.sequences[0].token_ids.clone(), generated.steps)
}

#[test]
fn every_greedy_golden_is_the_same_with_drafts() {
    let (mut cases, mut steps, mut tokens) = (0, 0, 0);
    let mut failures = Vec::new();
    for (number, model) in tiny_checkpoints("").into_iter().enumerate() {
        let (header, lines) = golden_lines(&format!("{model}.generate.jsonl"));
        let ids = |value: &Value| -> Vec<u32> {
            serde_json::from_value(value.clone()).expect("token ids")
        };
        let sources: Vec<_> = header["inputs"].as_array().unwrap().iter().map(ids).collect();
        // The others take turns. Every operator occurs in a third of the checkpoints.
        for precision in [Precision::Fp32, Precision::ALL[1 + number % 3]] {
            let source = format!("tiny/{model}");
            let mut summarizer = summarizer(bundle_in(source, precision).unwrap());
            for case in &lines {
                let parameters = case["parameters"].as_object().unwrap();
                let greedy = parameters.get("num_beams") == Some(&json!(1));
                if !greedy || case["sequences"].as_array().unwrap().len() != 1 {
                    continue;
                }
                let source = &sources[case["input"].as_u64().unwrap() as usize];
                let asked = with_lookup(parameters, 1 + cases % 5);
                if summarizer.configure(&asked).is_err() {
                    // Skips contradictory lengths, about which transformers only warns.
                    continue;
                }
                let expected = match precision {
                    Precision::Fp32 => ids(&case["sequences"][0]),
                    _ => {
                        let plain = GenerationParameters::from_json(parameters).unwrap();
                        run(&mut summarizer, source, &plain).0
                    }
                };
                let (found, made) = run(&mut summarizer, source, &asked);
                if found != expected {
                    failures.push(format!("{model} {precision}: {case}\n  found {found:?}"));
                }
                cases += 1;
                steps += made;
                tokens += found.len() - 1;
            }
        }
    }
    println!("{cases} cases: {tokens} tokens in {steps} steps");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(cases > 100, "only {cases} greedy goldens");
    assert!(steps < tokens, "{tokens} tokens took {steps} steps");
}

/// Tokens whose logits are compared, for every division into steps.
const TOKENS: [u32; 7] = [0, 9, 30, 11, 9, 30, 7];

/// Whether the logits of [`TOKENS`] are bit for bit the same with single steps, and with `first`
/// single steps and one step for the rest.
fn scores_alike(summarizer: &mut Summarizer, source: &[u32], first: usize) -> bool {
    let (encoder, decoder) = summarizer.sessions();
    let memory = encoder.encode(source).unwrap();
    let mut decoding = decoder.start_with(vec![memory], 1).unwrap();
    let logits = |decoding: &mut Decoding<'_>, tokens: &[u32]| -> Vec<f32> {
        let steps = tokens.iter().map(|token| decoding.step_all(&[*token], &[0]).unwrap().to_vec());
        steps.collect::<Vec<_>>().concat()
    };
    let draft = |tokens| Feed { document: 0, past: first, tokens, rows: Rows::Successive };
    let expected = logits(&mut decoding, &TOKENS);
    drop(decoding);
    let memory = encoder.encode(source).unwrap();
    let mut decoding = decoder.start_with(vec![memory], 1).unwrap();
    let mut found = logits(&mut decoding, &TOKENS[..first]);
    // The next step overwrites the cache of a wrong draft.
    decoding.step(&[draft(&[3, 4, 5])]).unwrap();
    found.extend_from_slice(decoding.step(&[draft(&TOKENS[first..])]).unwrap());
    found == expected
}

#[test]
fn tokens_of_one_step_score_as_with_a_step_each() {
    let mut failures = Vec::new();
    // The trained model has every format of weights. The others take turns: each operator occurs in
    // many of them.
    let trained = Precision::ALL.map(|precision| ("pegasus-debian.tar.gz".to_owned(), precision));
    let turns = Precision::ALL.into_iter().cycle();
    let tiny = tiny_checkpoints("").into_iter().map(|model| format!("tiny/{model}")).zip(turns);
    for (model, precision) in tiny.chain(trained) {
        let mut summarizer = summarizer(bundle_in(&model, precision).unwrap());
        let source: Vec<u32> = (3..20).collect();
        for first in 0..TOKENS.len() {
            if !scores_alike(&mut summarizer, &source, first) {
                failures.push(format!("{model} {precision} differs after {first} steps"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Summarizes the articles with the trained model, each alone and all in one call.
#[test]
fn articles_take_fewer_steps_and_come_out_the_same() {
    for precision in Precision::ALL {
        let bundle = bundle_in("pegasus-debian.tar.gz", precision).unwrap();
        articles_come_out_the_same(summarizer(bundle));
    }
}

fn articles_come_out_the_same(mut summarizer: Summarizer) {
    let mut articles: Vec<_> = fs::read_dir(fixture("articles"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    articles.sort();
    let texts: Vec<_> = articles.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let plain = json!({"num_beams": 1, "max_length": 64});
    let plain = plain.as_object().unwrap();
    let greedy = GenerationParameters::from_json(plain).unwrap();
    let drafted = with_lookup(plain, 10);
    let expected = summarizer.summarize(&texts, &greedy).unwrap();
    let found = summarizer.summarize(&texts, &drafted).unwrap();
    let (mut before, mut after) = (0, 0);
    for ((article, expected), found) in articles.iter().zip(&expected).zip(&found) {
        let name = article.file_name().unwrap().display();
        println!("{name}: {} steps, {} with drafts", expected.steps, found.steps);
        assert_eq!(found.text(), expected.text(), "{name}");
        assert_eq!(found.sequences[0].token_ids, expected.sequences[0].token_ids, "{name}");
        before += expected.steps;
        after += found.steps;
    }
    println!("together: {before} steps, {after} with drafts");
    assert!(after < before, "{before} steps, {after} with drafts");
}

#[test]
fn what_drafts_cannot_serve_is_said() {
    let summarizer = summarizer(bundle("tiny/pegasus-relu"));
    let refused = |summarizer: &Summarizer, parameters: Value| {
        let parameters = with_lookup(parameters.as_object().unwrap(), 4);
        summarizer.configure(&parameters).unwrap_err().to_string()
    };
    let error = refused(&summarizer, json!({"num_beams": 4}));
    assert!(error.contains("prompt_lookup_num_tokens") && error.contains("num_beams"), "{error}");
    let error =
        refused(&summarizer, json!({"num_beams": 1, "do_sample": true, "num_return_sequences": 2}));
    assert!(error.contains("one sequence"), "{error}");
}
