//! Fuzzes merging of adapters, with configurations and tensors that fit neither each other nor the
//! base.

use std::fs;

use serde_json::{Value, json};

use super::{End, Random, fixture, run};
use crate::source::Source;

const ADAPTERS: [(&str, &str); 9] = [
    ("lora", "bart-gelu"),
    ("patterns", "pegasus-relu"),
    ("dora", "pegasus-relu"),
    ("dora-embeddings", "bart-gelu"),
    ("modules-to-save", "bart-gelu"),
    ("lora-bias", "pegasus-relu"),
    ("token-rows-tied", "bart-gelu"),
    ("ia3-bias", "bart-gelu"),
    ("resized-tokens", "pegasus-gelu"),
];

/// A random value for `adapter_config.json`.
fn value(random: &mut Random) -> Value {
    match random.below(9) {
        0 => json!(random.size()),
        1 => json!(-(random.size() as f64)),
        2 => json!(random.below(9)),
        3 => json!({"q_proj": random.below(9), ".*fc1": random.size()}),
        4 => json!({"(": 1, "(a|a)*$": 2}),
        5 => json!([random.size(), random.below(9)]),
        6 => json!(true),
        7 => json!("LORA"),
        _ => Value::Null,
    }
}

#[test]
fn adapter() {
    let folders = ADAPTERS.map(|(adapter, base)| {
        let folder = tempfile::tempdir().unwrap();
        for from in [fixture("tiny").join(base), fixture("adapters").join(adapter)] {
            for entry in fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
            }
        }
        let config = fs::read(folder.path().join("adapter_config.json")).unwrap();
        let weights = fs::read(folder.path().join("adapter_model.safetensors")).unwrap();
        (folder, config, weights)
    });
    run(|random| {
        let (folder, config, weights) = random.pick(&folders);
        let (mut text, mut bytes) = (config.clone(), weights.clone());
        match random.below(4) {
            0 => random.damage(&mut text),
            1 => {
                let mut object: Value = serde_json::from_slice(config).unwrap();
                let fields: Vec<String> = object.as_object().unwrap().keys().cloned().collect();
                for _ in 0..=random.below(3) {
                    object[random.pick(&fields).as_str()] = value(random);
                }
                text = object.to_string().into_bytes();
            }
            2 => {
                // Damages the header only: any values behind it are valid.
                let header = usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) + 8;
                let mut start = bytes.drain(..header).collect();
                random.damage(&mut start);
                start.extend(bytes);
                bytes = start;
            }
            _ => {
                // Other shapes with the same number of elements, and other names.
                let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
                let old = String::from_utf8(bytes[8..8 + header].to_vec()).unwrap();
                let (from, to) = *random.pick(&[
                    ("lora_A", "lora_B"),
                    ("lora_B", "lora_A"),
                    ("q_proj", "k_proj"),
                    ("encoder", "decoder"),
                    ("self_attn", "encoder_attn"),
                    ("shape\":[4,", "shape\":[2,2,"),
                    ("shape\":[16,", "shape\":[4,4,"),
                    ("lora_embedding_A", "lora_embedding_B"),
                    ("lm_head", "model.shared"),
                    (".weight", ".bias"),
                ]);
                let new = old.replacen(from, to, 1 + random.below(4));
                let mut whole = (new.len() as u64).to_le_bytes().to_vec();
                whole.extend(new.bytes());
                whole.extend(&bytes[8 + header..]);
                bytes = whole;
            }
        }
        for (name, contents) in
            [("adapter_config.json", text), ("adapter_model.safetensors", bytes)]
        {
            let path = folder.path().join(name);
            let _ = fs::remove_file(&path);
            fs::write(path, contents).unwrap();
        }
        let opened = Source::open(folder.path(), None, &()).and_then(|source| source.checkpoint());
        let checkpoint = match opened {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                let message = error.to_string();
                assert!(!message.is_empty() && message.len() < 2000, "{message}");
                return End::Refusal;
            }
        };
        for name in checkpoint.names() {
            let tensor = checkpoint.tensor(name).unwrap();
            assert_eq!(tensor.to_f32().len(), tensor.len());
        }
        End::Answer
    });
}
