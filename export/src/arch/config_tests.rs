//! Errors in the configuration of a submodel name the submodel.

use serde_json::{Value, json};

use super::ModelConfig;
use super::find;
use super::model::Model;
use crate::error::Result;

/// The error of `base` with these fields changed.
#[track_caller]
fn refusal(base: &Value, changes: &[(&str, Value)]) -> String {
    model(base, changes).err().expect("a refusal").to_string()
}

/// The model of `base` with these fields changed.
fn model(base: &Value, changes: &[(&str, Value)]) -> Result<Model> {
    let mut config = base.clone();
    for (place, value) in changes {
        *config.pointer_mut(place).unwrap() = value.clone();
    }
    let family = find(config["model_type"].as_str().unwrap()).unwrap();
    let config = ModelConfig::new(config.as_object().unwrap().clone(), 100);
    family.model(config)
}

fn bert2gpt2() -> Value {
    json!({
        "model_type": "encoder-decoder", "tie_encoder_decoder": false,
        "encoder": {"model_type": "bert", "hidden_size": 16, "num_attention_heads": 2,
                    "position_embedding_type": "absolute", "max_position_embeddings": 8,
                    "pad_token_id": 1},
        "decoder": {"model_type": "gpt2", "n_embd": 12, "n_head": 2, "is_decoder": true,
                    "scale_attn_by_inverse_layer_idx": false,
                    "cross_attention_hidden_size": null},
    })
}

#[test]
fn a_bad_side_of_an_encoder_decoder_is_named() {
    let base = bert2gpt2();
    for (changes, message) in [
        (
            vec![("/encoder/model_type", json!("longformer"))],
            "field 'encoder.model_type' is 'longformer', but must be one of bert, camembert, \
             distilbert, electra, roberta, xlm-roberta",
        ),
        (
            vec![("/decoder/model_type", json!("distilbert"))],
            "field 'decoder.model_type' is 'distilbert', but must be one of bert, camembert, \
             electra, gpt2, roberta, xlm-roberta",
        ),
        (
            vec![("/encoder", Value::Null)],
            "field 'encoder' is missing, but must hold the configuration of that part",
        ),
        (
            vec![("/encoder/num_attention_heads", json!(5))],
            "field 'encoder.num_attention_heads' is 5, which does not divide the hidden size 16",
        ),
        (
            vec![("/encoder/position_embedding_type", json!("relative_key"))],
            "field 'encoder.position_embedding_type' is 'relative_key', but only absolute is \
             supported",
        ),
        (
            vec![("/encoder/model_type", json!("roberta")), ("/encoder/pad_token_id", json!(7))],
            "field 'encoder.max_position_embeddings' is 8, and positions are counted from \
             pad_token_id 7",
        ),
        (
            vec![("/decoder/is_decoder", json!(false))],
            "field 'decoder.is_decoder' is false, but must be true",
        ),
        (
            vec![("/decoder/cross_attention_hidden_size", json!(16))],
            "field 'decoder.cross_attention_hidden_size' is 16, but must be the hidden size of \
             both encoder (16) and decoder (12)",
        ),
        (
            vec![("/decoder/scale_attn_by_inverse_layer_idx", json!(true))],
            "field 'decoder.scale_attn_by_inverse_layer_idx' is true, which is not supported",
        ),
        (
            vec![("/tie_encoder_decoder", json!(true))],
            "field 'encoder.model_type' is 'bert', but must be 'gpt2' as the decoder's, since \
             tie_encoder_decoder is true",
        ),
    ] {
        assert_eq!(refusal(&base, &changes), format!("config.json: {message}"));
    }
}

#[test]
fn bad_experts_are_named() {
    let base = json!({"model_type": "switch_transformers", "router_dtype": "float32",
                      "num_layers": 4, "num_sparse_encoder_layers": 2, "num_experts": 8});
    for (change, message) in [
        (
            ("/router_dtype", json!("bfloat16")),
            "field 'router_dtype' is 'bfloat16', but only float32 is supported",
        ),
        (
            ("/num_sparse_encoder_layers", json!(5)),
            "field 'num_sparse_encoder_layers' is 5, but there are 4 layers",
        ),
        (
            ("/num_experts", json!(101)),
            "field 'num_experts' is 101, but the weights hold 100 tensors in all",
        ),
    ] {
        assert_eq!(refusal(&base, &[change]), format!("config.json: {message}"));
    }
}

#[test]
fn bad_experts_of_nllb_moe_are_named() {
    let base = json!({"model_type": "nllb-moe", "second_expert_policy": "all",
                      "batch_prioritized_routing": true, "moe_token_dropout": 0.2,
                      "moe_eval_capacity_token_fraction": 1.0, "num_experts": 8,
                      "expert_capacity": 64, "encoder_layers": 4, "decoder_layers": 4,
                      "encoder_sparse_step": 2, "decoder_sparse_step": 2});
    for (changes, message) in [
        (
            vec![("/second_expert_policy", json!("sampling"))],
            "field 'second_expert_policy' is 'sampling', but only all is supported",
        ),
        (
            vec![("/moe_eval_capacity_token_fraction", json!(0.5))],
            "field 'batch_prioritized_routing' is true, which is supported only where \
             moe_eval_capacity_token_fraction is 1",
        ),
        (
            vec![("/moe_token_dropout", json!(1.5))],
            "field 'moe_token_dropout' is 1.5, but must be from 0 to below 1",
        ),
        (
            vec![
                ("/batch_prioritized_routing", json!(false)),
                ("/moe_eval_capacity_token_fraction", json!(0.0)),
                ("/expert_capacity", Value::Null),
            ],
            "field 'expert_capacity' is null, but must be a number where \
             moe_eval_capacity_token_fraction is 0",
        ),
        (vec![("/num_experts", json!(1))], "field 'num_experts' is 1, but must be at least 2"),
    ] {
        assert_eq!(refusal(&base, &changes), format!("config.json: {message}"));
    }
    // A model without experts need not state their number.
    let dense = [
        ("/encoder_sparse_step", json!(0)),
        ("/decoder_sparse_step", json!(0)),
        ("/num_experts", json!(1)),
    ];
    let model = model(&base, &dense).unwrap();
    assert!(model.encoder.experts.is_none() && model.decoder.experts.is_none());
}

#[test]
fn a_bad_t5gemma_is_named() {
    let side = json!({"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
                      "num_key_value_heads": 2, "head_dim": 6, "sliding_window": 4,
                      "layer_types": ["full_attention", "sliding_attention"],
                      "rope_parameters": {"rope_type": "default", "rope_theta": 10.0},
                      "attn_logit_softcapping": 50.0});
    let base = json!({"model_type": "t5gemma", "encoder": side, "decoder": side});
    for (place, value, message) in [
        (
            "/encoder/num_attention_heads",
            json!(5),
            "is 5, which does not divide the hidden size 16",
        ),
        (
            "/decoder/num_key_value_heads",
            json!(3),
            "is 3, which does not divide num_attention_heads 4",
        ),
        ("/encoder/head_dim", json!(7), "is 7, but must be even"),
        (
            "/encoder/sliding_window",
            json!(0),
            "is 0, but must be a whole number from 1 to 16777216",
        ),
        (
            "/encoder/sliding_window",
            Value::Null,
            "is null, but must be a number for sliding_attention",
        ),
        ("/decoder/layer_types", json!(["full_attention"]), "has 1 values for 2 layers"),
        (
            "/decoder/layer_types",
            json!(["full_attention", "chunked_attention"]),
            "has \"chunked_attention\", but layers must be full_attention or sliding_attention",
        ),
        (
            "/encoder/rope_parameters/rope_type",
            json!("yarn"),
            "is 'yarn', but must be default or linear",
        ),
        ("/decoder/attn_logit_softcapping", json!(-1.0), "is -1.0, but must be a number above 0"),
    ] {
        let field = place[1..].replace('/', ".");
        let expected = format!("config.json: field '{field}' {message}");
        assert_eq!(refusal(&base, &[(place, value)]), expected);
    }
}

#[test]
fn a_window_of_t5gemma_reaches_as_far_as_in_the_version_of_the_checkpoint() {
    let side = json!({"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
                      "num_key_value_heads": 2, "head_dim": 6, "sliding_window": 4});
    let base = json!({"model_type": "t5gemma", "transformers_version": "", "encoder": side,
                      "decoder": side});
    for (version, of_encoder) in [("4.57.6", [3, 3]), ("5.24.0", [4, 4])] {
        let model = model(&base, &[("/transformers_version", json!(version))]).unwrap();
        for (stack, window) in [(model.encoder, of_encoder), (model.decoder, [3, 0])] {
            let reach: Vec<_> = stack.layer_types.iter().map(|layer| layer.reach).collect();
            assert_eq!(reach, [Some(window), None], "{version}");
        }
    }
}

#[test]
fn sides_of_t5gemma_2_that_do_not_fit_are_named() {
    let side = json!({"hidden_size": 16, "vocab_size": 30, "num_hidden_layers": 2,
                      "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
                      "rope_parameters": {}, "rope_scaling": null});
    let base = json!({"model_type": "t5gemma2", "encoder": {"text_config": side}, "decoder": side});
    for (place, value, message) in [
        ("/decoder/hidden_size", json!(32), "is 32, but must be 16 as the encoder's"),
        ("/decoder/vocab_size", json!(31), "is 31, but must be 30 as the encoder's"),
        (
            "/decoder/rope_scaling",
            json!({"rope_type": "linear", "factor": 2.0}),
            "is given beside rope_parameters, but must be absent then",
        ),
        (
            "/encoder/text_config",
            Value::Null,
            "is missing, but must hold the configuration of that part",
        ),
    ] {
        let field = place[1..].replace('/', ".");
        let expected = format!("config.json: field '{field}' {message}");
        assert_eq!(refusal(&base, &[(place, value)]), expected);
    }
}

#[test]
fn what_prophetnet_cannot_be_is_named() {
    let base = json!({
        "model_type": "prophetnet", "hidden_size": 16, "num_encoder_attention_heads": 2,
        "num_decoder_attention_heads": 4, "max_position_embeddings": 28, "num_buckets": 8,
        "relative_max_distance": 12, "pad_token_id": 0, "add_cross_attention": true, "ngram": 2,
    });
    for (field, value, message) in [
        ("pad_token_id", json!(1), "is 1, but must be 0"),
        ("add_cross_attention", json!(false), "is false, but must be true"),
        ("max_position_embeddings", json!(3), "is 3, but must be at least 4"),
        ("num_buckets", json!(1), "is 1, but must be at least 2"),
        (
            "relative_max_distance",
            json!(4),
            "is 4, but must be above half of num_buckets (4) and not above 65536",
        ),
        (
            "relative_max_distance",
            json!(1 << 20),
            "is 1048576, but must be above half of num_buckets (4) and not above 65536",
        ),
        ("ngram", json!(0), "is 0, but must be a whole number from 1 to 16777216"),
        ("num_decoder_attention_heads", json!(3), "is 3, which does not divide the hidden size 16"),
    ] {
        let found = refusal(&base, &[(&format!("/{field}"), value)]);
        assert_eq!(found, format!("config.json: field '{field}' {message}"));
    }
}
