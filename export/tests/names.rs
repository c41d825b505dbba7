//! Checkpoints with other names of tensors or fields, or with missing or extra tensors.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use epitome_export::{Error, ExportOptions};
use epitome_runtime::bundle::Manifest;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// A tensor: type, shape, bytes.
type Tensor = (Dtype, Vec<usize>, Vec<u8>);

/// A checkpoint of `fixtures/tiny` that can be changed.
struct Tiny {
    folder: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    config: Map<String, Value>,
}

impl Tiny {
    fn new(name: &str) -> Self {
        let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tiny");
        let folder = tiny.join(name);
        let bytes = fs::read(folder.join("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        let tensors = tensors.into_iter().map(|(name, view)| {
            let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name, tensor)
        });
        let config = fs::read(folder.join("config.json")).unwrap();
        Self {
            tensors: tensors.collect(),
            config: serde_json::from_slice(&config).unwrap(),
            folder,
        }
    }

    /// Renames all tensors with `rename`.
    fn renamed(mut self, rename: impl Fn(&str) -> String) -> Self {
        let tensors = self.tensors.into_iter();
        self.tensors = tensors.map(|(name, held)| (rename(&name), held)).collect();
        self
    }

    fn add(&mut self, name: &str) {
        let zeros = (Dtype::F32, vec![2], vec![0; 8]);
        self.tensors.insert(name.into(), zeros);
    }

    /// Overwrites the first value of a float32 tensor.
    fn set_first(&mut self, name: &str, value: f32) {
        self.tensors.get_mut(name).unwrap().2[..4].copy_from_slice(&value.to_le_bytes());
    }

    /// Exports the checkpoint with `text` as its config.json.
    fn export_with(&self, text: &str) -> Result<Manifest, Error> {
        let work = TempDir::new().unwrap();
        let checkpoint = work.path().join("checkpoint");
        fs::create_dir(&checkpoint).unwrap();
        for entry in fs::read_dir(&self.folder).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, checkpoint.join(path.file_name().unwrap())).unwrap();
        }
        let views = self.tensors.iter().map(|(name, (dtype, shape, bytes))| {
            let view = safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes);
            (name, view.unwrap())
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        for (name, bytes) in
            [("model.safetensors", bytes.as_slice()), ("config.json", text.as_bytes())]
        {
            fs::remove_file(checkpoint.join(name)).unwrap();
            fs::write(checkpoint.join(name), bytes).unwrap();
        }
        let options = ExportOptions { verify: false, ..ExportOptions::default() };
        epitome_export::export(checkpoint.as_path(), &work.path().join("bundle"), &options)
    }

    fn export(&self) -> Result<Manifest, Error> {
        self.export_with(&serde_json::to_string(&self.config).unwrap())
    }

    /// SHA-256 of the bundle's weights.
    fn digest(&self) -> String {
        self.export().unwrap().files["weights.bin"].sha256.clone()
    }

    fn error(&self) -> String {
        self.export().unwrap_err().to_string()
    }
}

#[test]
fn names_of_wrappers_are_taken_out_in_any_order() {
    for tiny in ["bart-gelu", "led-windows", "t5-relu"] {
        let expected = Tiny::new(tiny).digest();
        for wrapped in ["_orig_mod.", "module.", "_orig_mod.module.", "module._orig_mod."] {
            let found = Tiny::new(tiny).renamed(|name| format!("{wrapped}{name}"));
            assert_eq!(found.digest(), expected, "{tiny} {wrapped}");
        }
        let found = Tiny::new(tiny).renamed(|name| name.replace(".0.", ".0._orig_mod."));
        assert_eq!(found.digest(), expected, "{tiny}, a layer compiled by itself");
    }
}

#[test]
fn names_may_lack_what_the_base_class_does_not_write() {
    for (tiny, base) in [
        ("bart-gelu", "model."),
        ("fsmt-relu", "model."),
        ("led-windows", "led."),
        ("m2m_100-relu", "model."),
        ("marian-separate", "model."),
        ("pegasus_x-plain", "model."),
        ("prophetnet-gelu", "prophetnet."),
    ] {
        let expected = Tiny::new(tiny).digest();
        let bare = |name: &str| name.strip_prefix(base).unwrap_or(name).to_owned();
        assert_eq!(Tiny::new(tiny).renamed(bare).digest(), expected, "{tiny}");
        let wrapped = Tiny::new(tiny).renamed(|name| format!("module.{}", bare(name)));
        assert_eq!(wrapped.digest(), expected, "{tiny}");
    }
}

#[test]
fn tensors_without_a_use_are_left_out_and_named() {
    let extras = [
        "classification_head.dense.weight",
        "classification_head.out_proj.weight",
        "qa_outputs.bias",
        "v_head.summary.weight",
    ];
    for (tiny, buffer) in [
        ("bart-gelu", "model.encoder.embed_positions.position_ids"),
        ("t5-relu", "encoder.position_ids"),
    ] {
        let mut checkpoint = Tiny::new(tiny);
        let expected = checkpoint.digest();
        checkpoint.add(buffer);
        extras.iter().for_each(|name| checkpoint.add(name));
        let manifest = checkpoint.export().unwrap();
        let mut named = [&extras[..], &[buffer]].concat();
        named.sort_unstable();
        assert_eq!(manifest.source.left_out, named, "{tiny}");
        assert_eq!(manifest.files["weights.bin"].sha256, expected, "{tiny}");
    }
}

#[test]
fn tensors_that_look_like_a_part_of_the_model_are_refused_by_name() {
    for extra in [
        "lm_head.bias",
        "model.decoder.layers.9.fc1.weight",
        "model.encoder.layers.0.fc1.lora_A.default.weight",
        "model.encoder.layers.0.fc1.weight_scale",
        "encoder.layer.0.fc1.weight",
        "teacher.model.shared.weight",
    ] {
        let mut checkpoint = Tiny::new("bart-gelu");
        checkpoint.add(extra);
        let error = checkpoint.error();
        assert!(error.contains(extra), "{extra}: {error}");
    }
}

#[test]
fn minus_infinity_bans_a_token_and_nothing_else_may_be_infinite() {
    let bias = "final_logits_bias";
    let mut checkpoint = Tiny::new("bart-gelu");
    checkpoint.set_first(bias, f32::NEG_INFINITY);
    checkpoint.export().unwrap();
    for (name, value) in [
        (bias, f32::INFINITY),
        (bias, f32::NAN),
        ("model.encoder.layers.0.fc1.bias", f32::NEG_INFINITY),
    ] {
        let mut checkpoint = Tiny::new("bart-gelu");
        checkpoint.set_first(name, value);
        let error = checkpoint.error();
        assert!(error.contains(name) && error.contains("diverged"), "{error}");
    }
}

#[test]
fn fields_go_by_their_other_names() {
    for (tiny, fields) in [
        (
            "bart-gelu",
            [("d_model", "hidden_size"), ("encoder_attention_heads", "num_attention_heads")],
        ),
        ("t5-relu", [("d_kv", "head_dim"), ("num_heads", "num_attention_heads")]),
    ] {
        let mut checkpoint = Tiny::new(tiny);
        let expected = checkpoint.export().unwrap();
        for (field, alias) in fields {
            let value = checkpoint.config.remove(field).unwrap();
            checkpoint.config.insert(alias.into(), value);
        }
        let found = checkpoint.export().unwrap();
        assert_eq!(found.shape, expected.shape, "{tiny}");
        // The other name wins, as in transformers.
        checkpoint.config.insert(fields[0].0.into(), json!(7));
        assert_eq!(checkpoint.export().unwrap().shape, expected.shape, "{tiny}");
    }
}

#[test]
fn version_5_counts_the_encoders_layers_by_their_other_name_and_earlier_ones_do_not() {
    let mut checkpoint = Tiny::new("bart-gelu");
    checkpoint.config.insert("num_hidden_layers".into(), json!(9));
    checkpoint.config.insert("transformers_version".into(), json!("4.51.0"));
    checkpoint.export().unwrap();
    checkpoint.config.insert("transformers_version".into(), json!("5.1.0"));
    assert!(checkpoint.error().contains("model.encoder.layers.2"));
}

#[test]
fn numbers_that_only_python_writes_are_read() {
    let checkpoint = Tiny::new("bart-gelu");
    let text = serde_json::to_string(&checkpoint.config).unwrap();
    let text = text.replacen('{', "{\"classifier_dropout\": NaN, \"limit\": -Infinity,", 1);
    checkpoint.export_with(&text).unwrap();
    let text = text.replacen("NaN", "NaN, \"layerdrop\": Nan", 1);
    assert!(checkpoint.export_with(&text).is_err());
}

#[test]
fn sizes_that_the_weights_cannot_hold_are_refused_by_name() {
    for (tiny, field) in [
        ("bart-gelu", "encoder_layers"),
        ("bart-gelu", "max_position_embeddings"),
        ("bigbird_pegasus-sparse", "decoder_layers"),
        ("led-windows", "attention_window"),
        ("led-windows", "encoder_layers"),
        ("led-windows", "max_encoder_position_embeddings"),
        ("longt5-local", "local_radius"),
        ("m2m_100-relu", "decoder_layers"),
        ("pegasus_x-plain", "block_size"),
        ("pegasus_x-plain", "num_global_tokens"),
        ("t5-relu", "num_layers"),
    ] {
        // The largest size that is allowed: memory that is allocated before the error shows.
        let mut checkpoint = Tiny::new(tiny);
        checkpoint.config.insert(field.into(), json!(1 << 24));
        let error = checkpoint.error();
        assert!(error.contains(field) || error.contains("16777"), "{tiny} {field}: {error}");
    }
}
