//! What is wrong in the configuration of a part is named with the part.

use serde_json::{Value, json};

use super::ModelConfig;
use super::find;

/// Why a config.json is refused, with these fields set in `base`.
#[track_caller]
fn refusal(base: &Value, changes: &[(&str, Value)]) -> String {
    let mut config = base.clone();
    for (place, value) in changes {
        *config.pointer_mut(place).unwrap() = value.clone();
    }
    let family = find(config["model_type"].as_str().unwrap()).unwrap();
    let config = ModelConfig::new(config.as_object().unwrap().clone(), 100);
    family.model(config).err().expect("a refusal").to_string()
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
