//! Any JSON as parameters gives an answer or one clear sentence: no panic, no endless loop, bounded memory.

use epitome_runtime::generation::{GenerationConfig, GenerationParameters, Limits, generate};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::table::{TableModel, as_sources};

const LIMITS: Limits = Limits {
    max_target_positions: Some(24),
    vocab_size: 24,
};

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

fn parameters() -> impl Strategy<Value = Map<String, Value>> {
    let names = GenerationParameters::names();
    let name = prop_oneof![
        20 => prop::sample::select(names).prop_map(str::to_owned),
        1 => prop::sample::select(GenerationParameters::harmless_names()).prop_map(str::to_owned),
        1 => prop::sample::select(&["prompt_lookup_num_tokens", "dola_layers"][..]).prop_map(str::to_owned),
        1 => "[a-z_]{0,20}",
    ];
    prop::collection::vec((name, value()), 0..5).prop_map(|pairs| pairs.into_iter().collect())
}

fn check(parameters: &Map<String, Value>) {
    let defaults = json!({"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0});
    let resolved = GenerationParameters::from_json(parameters).and_then(|parameters| {
        GenerationConfig::resolve(defaults.as_object().expect("map"), &parameters, LIMITS)
    });
    let config = match resolved {
        Ok(config) => config,
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains('`') && message.len() < 600, "{message}");
            return;
        }
    };
    let sources = [vec![5, 6, 7, 1], vec![9, 1]];
    let mut model = TableModel::new(LIMITS.vocab_size, &sources, config.rows_per_document());
    match generate(&mut model, &as_sources(&sources), &config, &mut ()) {
        Ok(generated) => {
            for sequence in generated.iter().flat_map(|one| &one.sequences) {
                assert!(sequence.token_ids.len() <= config.max_length());
                assert!(sequence.token_ids.starts_with(config.prompt()));
            }
        }
        Err(error) => assert!(error.to_string().len() < 600),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_parameters_give_an_answer_or_a_clear_error(parameters in parameters()) {
        check(&parameters);
    }
}

#[test]
fn extreme_values_that_are_allowed_end() {
    for parameters in [
        json!({"num_beams": 4, "length_penalty": 1e300}),
        json!({"num_beams": 4, "length_penalty": -1e300}),
        json!({"num_beams": 4, "length_penalty": -1000.0, "forced_bos_token_id": 3}),
        json!({"num_beams": 256, "num_return_sequences": 256}),
        json!({"num_beams": 4, "suppress_tokens": (0..24).collect::<Vec<u32>>()}),
        json!({"do_sample": true, "suppress_tokens": (0..24).collect::<Vec<u32>>()}),
        json!({"do_sample": true, "num_beams": 3, "suppress_tokens": (0..24).collect::<Vec<u32>>()}),
        json!({"do_sample": true, "temperature": 1e-300}),
        json!({"do_sample": true, "temperature": 1e300, "top_k": 0}),
        json!({"repetition_penalty": 1e-300}),
        json!({"repetition_penalty": 1e300, "num_beams": 2}),
        json!({"sequence_bias": [[[3], 1e300]], "num_beams": 2}),
        json!({"sequence_bias": [[[3], -1e300]], "remove_invalid_values": true, "num_beams": 2}),
        json!({"no_repeat_ngram_size": u64::MAX, "min_new_tokens": 3, "max_time": 1e300}),
        json!({"exponential_decay_length_penalty": [u64::MAX, 1.5]}),
    ] {
        check(parameters.as_object().expect("map"));
    }
}
