//! Token ids and scores of every golden made with transformers' `generate`.

use crate::common::{
    Exported, bundle, bundle_in, fixture, golden_lines, summarizer, tiny_checkpoints,
};
use epitome_export::{ExportOptions, export};
use epitome_runtime::Summarizer;
use epitome_runtime::bundle::Precision;
use epitome_runtime::generation::{
    Generated, GenerationConfig, GenerationParameters, GlobalAttentionMask, Source, generate,
};
use serde_json::Value;

/// Largest difference of a score, relative to its absolute value (or 1). With a negative
/// length_penalty a score is a sum times a length, and float32 has seven digits.
const TOLERANCE: f64 = 1e-4;

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// The results of a model for sources that are decoded together.
fn run(
    summarizer: &mut Summarizer,
    sources: &[Vec<u32>],
    config: &GenerationConfig,
) -> Vec<Generated> {
    let (encoder, decoder) = summarizer.sessions();
    let global = config.global_attention_mask();
    let memories = sources.iter().map(|source| encoder.encode_with(source, global).unwrap());
    let memories = memories.collect();
    let mut decoding = decoder.start_with(memories, config.rows_per_document()).unwrap();
    let sources: Vec<_> = sources.iter().map(|source| Source::new(source)).collect();
    generate(&mut decoding, &sources, config, &mut ()).unwrap()
}

/// The difference of a result from the golden's token ids and scores, if there is one.
fn departure(case: &Value, generated: &Generated) -> Option<String> {
    let sequences = &generated.sequences;
    let found: Vec<_> = sequences.iter().map(|s| s.token_ids.clone()).collect();
    let expected: Vec<_> = case["sequences"].as_array().unwrap().iter().map(ids).collect();
    if found != expected {
        return Some(format!("{case}\n  found {found:?}"));
    }
    let scores = case.get("scores").and_then(Value::as_array);
    let differ = scores.into_iter().flatten().zip(sequences).any(|(expected, sequence)| {
        !sequence.score.is_some_and(|found| near(f64::from(found), expected.as_f64().unwrap()))
    });
    let scores: Vec<_> = sequences.iter().map(|sequence| sequence.score).collect();
    differ.then(|| format!("{case}\n  found scores {scores:?}"))
}

/// Compares every case of a golden file. The error has the first few failures, and their number.
fn compare(model: &str, file: &str) -> Result<(), String> {
    let (header, cases) = golden_lines(file);
    let sources: Vec<Vec<u32>> = header["inputs"].as_array().unwrap().iter().map(ids).collect();
    let bundle = bundle_in(format!("tiny/{model}"), Precision::Fp32);
    let mut summarizer = summarizer(bundle.map_err(|error| format!("{model}: {error}"))?);
    let mut failures = Vec::new();
    for case in &cases {
        let source = &sources[case["input"].as_u64().unwrap() as usize];
        let parameters =
            GenerationParameters::from_json(case["parameters"].as_object().unwrap()).unwrap();
        let config = summarizer.configure(&parameters);
        if parameters.min_length > parameters.max_length && parameters.max_length.is_some() {
            // transformers only warns about invalid parameters, where epitome returns an error.
            assert!(config.is_err(), "{case}");
            continue;
        }
        let config = config.unwrap();
        let generated = run(&mut summarizer, std::slice::from_ref(source), &config);
        failures.extend(departure(case, &generated[0]));
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

/// Settings drawn at random. All settings of a request run together.
#[test]
fn every_random_golden_has_the_same_token_ids_and_scores() {
    let random = |model: &String| {
        let file = format!("{model}.random.jsonl");
        fixture("goldens").join(&file).exists().then_some((model.clone(), file))
    };
    let files: Vec<_> = tiny_checkpoints("").iter().filter_map(random).collect();
    let cases: usize = files.iter().map(|(_, file)| golden_lines(file).1.len()).sum();
    assert!(cases >= 200, "{cases} cases");
    let compared = files.iter().filter_map(|(model, file)| compare(model, file).err());
    let failures: Vec<String> = compared.collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_processor_golden_has_the_same_token_ids_and_scores() {
    if let Err(failures) = compare("pegasus-relu", "pegasus-relu.processors.jsonl") {
        panic!("{failures}");
    }
}

/// The global attention of the export is the default of requests.
#[test]
fn the_first_token_has_global_attention_unless_something_else_is_said() {
    let (header, cases) = golden_lines("led-windows.generate.jsonl");
    let first = serde_json::json!([1]);
    let is_of = |case: &&Value, mask: Option<&Value>| {
        case["parameters"].get("global_attention_mask") == mask
            && case["parameters"]["num_beams"] == 1
            && case["parameters"].get("no_repeat_ngram_size").is_none()
    };
    let of = |mask: Option<&Value>| cases.iter().filter(|case| is_of(case, mask)).collect();
    let cases: [Vec<&Value>; 2] = [of(Some(&first)), of(None)];
    let (silent, none) = (Value::Null, Value::from("none"));
    let folder = tempfile::tempdir().unwrap();
    for (asked, in_request, cases) in [
        (None, &silent, &cases[0]),
        (None, &none, &cases[1]),
        (Some("none"), &silent, &cases[1]),
        (Some("0,1"), &none, &cases[1]),
    ] {
        let asked = asked.map(|text| text.parse().unwrap());
        let options =
            ExportOptions { global_attention_mask: asked.as_ref(), ..ExportOptions::default() };
        let bundle = folder.path().join("bundle");
        export(&fixture("tiny/led-windows"), &bundle, &options).unwrap();
        let mut summarizer = summarizer(&bundle);
        assert!(cases.len() > 3);
        for case in cases {
            let mut parameters = case["parameters"].as_object().unwrap().clone();
            parameters.remove("global_attention_mask");
            if !in_request.is_null() {
                parameters.insert("global_attention_mask".into(), in_request.clone());
            }
            let parameters = GenerationParameters::from_json(&parameters).unwrap();
            let config = summarizer.configure(&parameters).unwrap();
            let source = ids(&header["inputs"][case["input"].as_u64().unwrap() as usize]);
            let generated = run(&mut summarizer, &[source], &config);
            assert_eq!(departure(case, &generated[0]), None, "{asked:?}, {in_request}");
        }
    }
}

#[test]
fn global_attention_is_refused_for_other_models() {
    let first = GlobalAttentionMask::first();
    let options = ExportOptions { global_attention_mask: Some(&first), ..ExportOptions::default() };
    let error = Exported::attempt_with("tiny/bart-gelu", &options).err().unwrap();
    assert!(error.is_usage());
    assert_eq!(
        error.to_string(),
        "a model of 'bart' has no tokens with global attention, which only LED has: leave \
         --global-attention-mask out"
    );
}

/// The reference is transformers 4.46.3, because version 5 dropped these searches.
#[test]
fn every_golden_of_groups_and_constraints_has_the_same_token_ids_and_scores() {
    let (_, cases) = golden_lines("pegasus-relu.groups.jsonl");
    assert!(cases.len() > 150, "{} cases", cases.len());
    if let Err(failures) = compare("pegasus-relu", "pegasus-relu.groups.jsonl") {
        panic!("{failures}");
    }
}

/// Families without a limit of positions, so that no text is too long.
const ENDLESS: [&str; 4] = ["fsmt", "m2m_100", "nllb_moe", "pegasus_x"];

/// Sources and summaries beyond `max_position_embeddings`.
#[test]
fn every_endless_golden_has_the_same_token_ids_and_scores() {
    let (_, cases) = golden_lines("endless.jsonl");
    assert_eq!(cases.len(), 24);
    let mut failures = Vec::new();
    for model in tiny_checkpoints("") {
        let cases: Vec<&Value> = cases.iter().filter(|case| case["model"] == *model).collect();
        if cases.is_empty() {
            continue;
        }
        let mut summarizer = summarizer(bundle(format!("tiny/{model}")));
        for case in cases {
            let parameters = case["parameters"].as_object().unwrap();
            let parameters = GenerationParameters::from_json(parameters).unwrap();
            let config = summarizer.configure(&parameters).unwrap();
            let generated = run(&mut summarizer, &[ids(&case["ids"])], &config);
            failures.extend(departure(case, &generated[0]));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The shortest sources, a text over the limit, and a very long summary, alone and all together.
#[test]
fn every_edge_golden_has_the_same_token_ids_and_scores() {
    let (_, cases) = golden_lines("edges.jsonl");
    let mut failures = Vec::new();
    for model in tiny_checkpoints("") {
        let mut summarizer = summarizer(bundle(format!("tiny/{model}")));
        let cases: Vec<&Value> = cases.iter().filter(|case| case["model"] == *model).collect();
        let endless = ENDLESS.iter().any(|family| model.starts_with(family));
        for beams in [1, 2, 4] {
            let parameters = |case: &&&Value| case["parameters"]["num_beams"] == beams;
            let cases: Vec<&Value> = cases.iter().filter(parameters).copied().collect();
            // Near-ties are left out. The only case with 2 beams is a summary of 1,200 tokens.
            if beams == 2 && model != "t5-silu" {
                continue;
            }
            // In transformers, the beams of this model compete for experts.
            if beams == 4 && model == "nllb_moe-dropping" {
                continue;
            }
            assert!(!cases.is_empty(), "{model} has no case of {beams} beams");
            let parameters = cases[0]["parameters"].as_object().unwrap();
            let parameters = GenerationParameters::from_json(parameters).unwrap();
            let config = summarizer.configure(&parameters).unwrap();
            let sources: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["ids"])).collect();
            for (case, source) in cases.iter().zip(&sources) {
                if let (Some(text), false) = (case["text"].as_str(), endless) {
                    let tokens = summarizer.tokenizer().encode(text).unwrap();
                    assert!(tokens.truncated && tokens.ids == *source, "{model}: {tokens:?}");
                    let limit = summarizer.bundle().manifest().max_source_tokens;
                    assert_eq!(case["limit"], limit, "{model}");
                }
                let alone = run(&mut summarizer, std::slice::from_ref(source), &config);
                failures.extend(departure(case, &alone[0]));
            }
            let together = run(&mut summarizer, &sources, &config);
            failures
                .extend(cases.iter().zip(&together).filter_map(|(case, one)| departure(case, one)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
