//! Any JSON as parameters gives a result or a short error, without panic or endless loop and in
//! bounded memory.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use epitome_runtime::generation::{
    ExponentialDecay, GenerationConfig, GenerationParameters, Limits, SequenceBias, generate,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use crate::batches::StopAt;
use crate::table::{TableModel, as_sources};

const LIMITS: Limits =
    Limits { max_target_positions: Some(24), vocab_size: 24, global_attention: false };

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..30).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-3.0..5.0).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!("never")),
        "[a-z]{0,8}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 16, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((0_u64..26).prop_map(Value::from), 0..4).prop_map(Value::from),
            prop::collection::vec(
                (prop::collection::vec(0_u64..26, 0..3), -9.0..9.0).prop_map(|pair| json!(pair)),
                0..3,
            )
            .prop_map(Value::from),
            prop::collection::hash_map("[a-z]{0,5}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Values that are allowed or almost allowed, so that both searches and errors are reached.
fn likely() -> impl Strategy<Value = (String, Value)> {
    let choices = json!({
        "num_beams": [1, 2, 3, 4, 6, 8, 64, 256, 257],
        "num_return_sequences": [1, 2, 3, 4, 256],
        "num_beam_groups": [1, 2, 3, 4, 256],
        "diversity_penalty": [0.0, 0.5, 20.0, 1e300, -1.0],
        "force_words_ids": [
            [[5]], [[5, 6], [[7], [8, 9]]], [[[7, 8], [7, 9, 4], [3]], [1]], [[24]], [[[]]],
        ],
        "constraints": [
            [{"PhrasalConstraint": [5, 0, 1]}], [{"DisjunctiveConstraint": [[5, 6], [5, 7], [4]]}],
            [{"PhrasalConstraint": [[5]]}], [{"Phrasal": [5]}],
        ],
        "length_penalty": [-1000.0, -1.0, 0.0, 0.6, 1.0, 1e300],
        "early_stopping": [true, false, "never", "always"],
        "max_length": [2, 3, 12, 24, 25, 500, 16.0, -1],
        "max_new_tokens": [1, 2, 12, 23, 24, u64::MAX],
        "min_length": [0, 5, 24, u64::MAX],
        "min_new_tokens": [0, 5, 23, u64::MAX],
        "max_time": [0.0, 1e-9, 1e300],
        "stop_strings": ["the end", ["the", "end"], [""]],
        "no_repeat_ngram_size": [0, 1, 2, 3, u64::MAX],
        "encoder_no_repeat_ngram_size": [0, 1, 2, 3, u64::MAX],
        "repetition_penalty": [0.5, 1.0, 2.0, 1e300, 1e-300],
        "encoder_repetition_penalty": [0.5, 1.0, 2.0, 1e300, 1e-300],
        "do_sample": [true, false, 1],
        "temperature": [0, 1e-300, 0.5, 1.0, 2.0, 1e300],
        "top_k": [0, 1, 5, 50, u64::MAX],
        "top_p": [0.0, 0.5, 0.9, 1.0],
        "min_p": [0.0, 0.1, 1.0],
        "typical_p": [0.2, 0.9, 1.0],
        "eos_token_id": [[], 1, [1, 2, 3], [23, 23], 24, -1, [1, 24, -3]],
        "pad_token_id": [0, 1, 5, -1, 24],
        "suppress_tokens": [
            [], [1], [-1, 24], (0..24).collect::<Vec<u32>>(), (1..24).collect::<Vec<u32>>(),
        ],
        "forced_bos_token_id": [0, 1, 23],
        "forced_eos_token_id": [1, [1, 2], 23],
        "exponential_decay_length_penalty": [[0, 1.5], [u64::MAX, 0.5], [3, -2.0]],
        "renormalize_logits": [true],
        "remove_invalid_values": [true],
        "output_scores": [true, false],
        "prompt_lookup_num_tokens": [1, 7, 256, 0, 257],
        "max_matching_ngram_size": [1, 2, u64::MAX, 0],
        "decoder_input_ids": [[0], [3, 4, 5], (0..24).collect::<Vec<u32>>()],
    });
    let pairs: Vec<(String, Value)> = choices
        .as_object()
        .expect("a map")
        .iter()
        .flat_map(|(name, values)| {
            let values = values.as_array().expect("a list");
            values.iter().map(|value| (name.clone(), value.clone()))
        })
        .collect();
    prop::sample::select(pairs)
}

fn any_name() -> impl Strategy<Value = String> {
    let refused = GenerationParameters::refused_names();
    let harmless = GenerationParameters::harmless_names();
    prop_oneof![
        20 => prop::sample::select(GenerationParameters::names()).prop_map(str::to_owned),
        1 => prop::sample::select(harmless).prop_map(str::to_owned),
        1 => prop::sample::select(refused).prop_map(str::to_owned),
        1 => "[a-z_]{0,20}",
    ]
}

/// A number that code can set and JSON cannot.
fn wild() -> impl Strategy<Value = (usize, f64)> {
    let numbers = [f64::NAN, f64::INFINITY, -f64::INFINITY, -0.0, f64::MIN_POSITIVE, f64::MAX];
    (0_usize..14, prop::sample::select(numbers.to_vec()))
}

/// Sets a number of the parameters.
fn set(parameters: &mut GenerationParameters, (which, number): (usize, f64)) {
    let numbers = [
        &mut parameters.length_penalty,
        &mut parameters.diversity_penalty,
        &mut parameters.max_time,
        &mut parameters.repetition_penalty,
        &mut parameters.encoder_repetition_penalty,
        &mut parameters.temperature,
        &mut parameters.top_p,
        &mut parameters.min_p,
        &mut parameters.top_h,
        &mut parameters.typical_p,
        &mut parameters.epsilon_cutoff,
        &mut parameters.eta_cutoff,
    ];
    match numbers.into_iter().nth(which) {
        Some(place) => *place = Some(number),
        None if which == 12 => {
            let factor = number;
            parameters.exponential_decay_length_penalty =
                Some(ExponentialDecay { start: 1, factor });
        }
        None => {
            let token_ids = vec![3];
            let bias = number;
            parameters.sequence_bias = Some(vec![SequenceBias { token_ids, bias }]);
        }
    }
}

/// The parameters of a caller and the defaults of a model.
#[derive(Debug, Clone)]
struct Case {
    parameters: Map<String, Value>,
    wild: Option<(usize, f64)>,
    /// The model's own defaults.
    defaults: Map<String, Value>,
}

fn case() -> impl Strategy<Value = Case> {
    let pair = || prop_oneof![5 => likely(), 1 => (any_name(), value())];
    let pairs =
        |end| prop::collection::vec(pair(), 0..end).prop_map(|pairs| pairs.into_iter().collect());
    (pairs(6), prop::option::weighted(0.1, wild()), pairs(2))
        .prop_map(|(parameters, wild, defaults)| Case { parameters, wild, defaults })
}

/// The end of a case: a result, an error of the parameters, or an error of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Answer,
    Refusal,
    Failure,
}

fn check(case: &Case) -> End {
    let mut defaults = case.defaults.clone();
    for (name, token) in [("decoder_start_token_id", 0), ("eos_token_id", 1), ("pad_token_id", 0)] {
        defaults.entry(name).or_insert_with(|| token.into());
    }
    let resolved = GenerationParameters::from_json(&case.parameters).and_then(|mut parameters| {
        if let Some(wild) = case.wild {
            set(&mut parameters, wild);
        }
        GenerationConfig::resolve(&defaults, &parameters, LIMITS)
    });
    let mut config = match resolved {
        Ok(config) => config,
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains('`') && message.len() < 600, "{message}");
            return End::Refusal;
        }
    };
    if !config.stop_strings().is_empty() {
        config = config.with_stop_strings(Arc::new(StopAt(7)));
    }
    let sources = [vec![5, 6, 7, 1], vec![9, 1]];
    let mut model = TableModel::new(LIMITS.vocab_size, &sources, config.rows_per_document());
    match generate(&mut model, &as_sources(&sources), &config, &mut ()) {
        Ok(generated) => {
            for one in &generated {
                assert_eq!(one.sequences.len(), config.num_return_sequences());
            }
            for sequence in generated.iter().flat_map(|one| &one.sequences) {
                assert!(sequence.token_ids.len() <= config.max_length());
                assert!(sequence.token_ids.starts_with(config.prompt()));
            }
            End::Answer
        }
        Err(error) => {
            assert!(error.to_string().len() < 600);
            End::Failure
        }
    }
}

/// Runs for `EPITOME_FUZZ_SECONDS` (default 1), with the seed `EPITOME_FUZZ_SEED` (default 0).
///
/// ```text
/// EPITOME_FUZZ_SECONDS=600 cargo test -p epitome-runtime --test generation fuzz::any \
///     -- --nocapture
/// ```
#[test]
fn any_parameters_give_an_answer_or_a_clear_error() {
    /// Maximum time of a case. No case takes a tenth of it on an idle machine.
    const LONGEST: Duration = Duration::from_secs(30);
    let option = |name, default: u64| match std::env::var(name) {
        Ok(value) => value.parse().expect("a whole number"),
        Err(_) => default,
    };
    let time = Duration::from_secs(option("EPITOME_FUZZ_SECONDS", 1));
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&option("EPITOME_FUZZ_SEED", 0).to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), random);
    let cases = case();
    let mut ends = BTreeMap::new();
    let mut slowest = (Duration::ZERO, String::new());
    let start = Instant::now();
    while start.elapsed() < time {
        let case = cases.new_tree(&mut runner).expect("a case").current();
        let begun = Instant::now();
        let end = catch_unwind(|| check(&case)).unwrap_or_else(|_| panic!("a panic with {case:?}"));
        let took = begun.elapsed();
        assert!(took < LONGEST, "{took:?} with {case:?}");
        if took > slowest.0 {
            slowest = (took, format!("{case:?}"));
        }
        *ends.entry(end).or_insert(0_u64) += 1;
    }
    assert!(ends.contains_key(&End::Answer) && ends.contains_key(&End::Refusal), "{ends:?}");
    println!("{ends:?} in {:?}, the slowest {slowest:?}", start.elapsed());
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
    }
}

#[test]
fn extreme_values_that_are_allowed_end() {
    for parameters in [
        json!({"num_beams": 4, "length_penalty": 1e300}),
        json!({
            "num_beams": 4,
            "num_beam_groups": 2,
            "diversity_penalty": 1e300,
            "length_penalty": 1e300,
        }),
        json!({"num_beams": 256, "num_beam_groups": 128, "diversity_penalty": 1e-300}),
        json!({
            "num_beams": 256,
            "force_words_ids": vec![[3, 4, 5, 6]; 64],
            "length_penalty": -1e300,
        }),
        json!({
            "num_beams": 2,
            "force_words_ids": [(0..24).map(|token| [token]).collect::<Vec<_>>()],
        }),
        json!({"num_beams": 4, "length_penalty": -1e300}),
        json!({"num_beams": 4, "length_penalty": -1000.0, "forced_bos_token_id": 3}),
        json!({"num_beams": 256, "num_return_sequences": 256}),
        json!({"num_beams": 4, "suppress_tokens": (0..24).collect::<Vec<u32>>()}),
        json!({"do_sample": true, "suppress_tokens": (0..24).collect::<Vec<u32>>()}),
        json!({
            "do_sample": true,
            "num_beams": 3,
            "suppress_tokens": (0..24).collect::<Vec<u32>>(),
        }),
        json!({"do_sample": true, "temperature": 1e-300}),
        json!({"do_sample": true, "temperature": 1e300, "top_k": 0}),
        json!({"repetition_penalty": 1e-300}),
        json!({"repetition_penalty": 1e300, "num_beams": 2}),
        json!({"sequence_bias": [[[3], 1e300]], "num_beams": 2}),
        json!({"sequence_bias": [[[3], -1e300]], "remove_invalid_values": true, "num_beams": 2}),
        json!({"no_repeat_ngram_size": u64::MAX, "min_new_tokens": 3, "max_time": 1e300}),
        json!({"exponential_decay_length_penalty": [u64::MAX, 1.5]}),
    ] {
        check(&Case {
            parameters: parameters.as_object().expect("map").clone(),
            wild: None,
            defaults: Map::new(),
        });
    }
}
