//! Checkpoints of PyTorch and transformers (`fixtures/make_pickles.py`), and checkpoints with one
//! error each.

use std::fs;
use std::path::{Path, PathBuf};

use epitome_export::checkpoint::{Checkpoint, DType};
use epitome_export::{Error, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/checkpoints")
}

/// A checkpoint folder with the given files and a small configuration.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("config.json"), r#"{"model_type": "pegasus"}"#).unwrap();
    for (name, contents) in files {
        fs::write(folder.path().join(name), contents).unwrap();
    }
    folder
}

/// A checkpoint with one weights file from `fixtures/checkpoints/pickles`.
fn open_pickle(name: &str) -> Result<(TempDir, Checkpoint)> {
    let bytes = fs::read(fixtures().join(format!("pickles/{name}.bin"))).unwrap();
    let folder = folder(&[("pytorch_model.bin", &bytes)]);
    let checkpoint = Checkpoint::open(folder.path())?;
    Ok((folder, checkpoint))
}

fn refusal(opened: Result<impl Sized>) -> String {
    opened.err().expect("must be refused").to_string()
}

/// The error for a checkpoint with these files.
fn refused(files: &[(&str, &[u8])]) -> String {
    let folder = folder(files);
    refusal(Checkpoint::open(folder.path()))
}

/// The bits of all tensors, by name.
fn contents(checkpoint: &Checkpoint) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    checkpoint
        .names()
        .map(|name| {
            let tensor = checkpoint.tensor(name).unwrap();
            let bits = tensor.to_f32().into_iter().map(f32::to_bits).collect();
            (name.to_owned(), tensor.shape().to_vec(), bits)
        })
        .collect()
}

#[test]
fn pickles_hold_what_pytorch_put_in() {
    let mut seen = 0;
    for entry in fs::read_dir(fixtures().join("pickles")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().unwrap() != "json" {
            continue;
        }
        seen += 1;
        let name = path.file_stem().unwrap().to_str().unwrap();
        let expected: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let mut expected: Vec<_> = expected
            .as_object()
            .unwrap()
            .iter()
            .map(|(tensor, value)| {
                let shape = value["shape"].as_array().unwrap().iter();
                let values = value["values"].as_array().unwrap().iter();
                (
                    tensor.clone(),
                    shape.map(|size| size.as_u64().unwrap() as usize).collect::<Vec<_>>(),
                    values
                        .map(|value| {
                            let value: f64 = value.as_str().unwrap().parse().unwrap();
                            (value as f32).to_bits()
                        })
                        .collect::<Vec<_>>(),
                )
            })
            .collect();
        expected.sort();
        let (_folder, checkpoint) = open_pickle(name).unwrap();
        assert_eq!(contents(&checkpoint), expected, "{name}");
    }
    assert!(seen >= 9, "only {seen} pickles");
}

#[test]
fn types_and_tied_tensors_are_told() {
    let (_folder, checkpoint) = open_pickle("types").unwrap();
    let dtype = |name| checkpoint.tensor(name).unwrap().dtype();
    assert_eq!(dtype("f64"), DType::F64);
    assert_eq!(dtype("bf16"), DType::BF16);
    assert_eq!(dtype("bool"), DType::Bool);
    let finite = |name| checkpoint.tensor(name).unwrap().first_non_finite();
    assert_eq!(finite("not_finite"), Some(2));
    assert_eq!(finite("f16"), None);

    let (_folder, checkpoint) = open_pickle("views").unwrap();
    assert!(checkpoint.same_storage("contiguous", "tied"));
    assert!(!checkpoint.same_storage("contiguous", "transposed"));
    assert!(!checkpoint.same_storage("contiguous", "columns"));
    assert!(!checkpoint.same_storage("contiguous", "missing"));
}

#[test]
fn every_form_of_a_model_holds_the_same() {
    let open = |form: &str| Checkpoint::open(&fixtures().join("forms").join(form)).unwrap();
    let bin = open("bin");
    assert_eq!(bin.weights_format(), "pytorch_model.bin");
    assert_eq!(bin.config()["model_type"], "pegasus");
    assert!(bin.generation_config().is_none());
    assert!(bin.same_storage("model.shared.weight", "lm_head.weight"));
    let shards = open("bin-shards");
    assert_eq!(shards.weights_format(), "pytorch_model.bin (2 shards)");
    assert_eq!(contents(&bin), contents(&shards));
    // These are stored twice, once in each shard.
    let [one, other] = ["lm_head.weight", "model.shared.weight"].map(|n| shards.tensor(n).unwrap());
    assert!(one.same_values(&other));
    assert!(!shards.same_storage("lm_head.weight", "model.shared.weight"));

    let safetensors = open("safetensors");
    assert_eq!(safetensors.weights_format(), "model.safetensors");
    for (name, shape, bits) in contents(&safetensors) {
        let tensor = bin.tensor(&name).unwrap();
        assert_eq!(tensor.shape(), shape);
        let expected: Vec<u32> = tensor.to_f32().into_iter().map(f32::to_bits).collect();
        assert_eq!(bits, expected, "{name}");
    }
    let shards = open("safetensors-shards");
    assert_eq!(shards.weights_format(), "model.safetensors (2 shards)");
    for name in safetensors.names() {
        let [one, other] = [&safetensors, &shards].map(|form| form.tensor(name).unwrap());
        assert!(one.same_values(&other), "{name}");
    }
}

#[test]
fn safetensors_are_preferred_as_by_transformers() {
    let safetensors = fs::read(fixtures().join("forms/safetensors/model.safetensors")).unwrap();
    let folder = folder(&[("pytorch_model.bin", b"nonsense"), ("model.safetensors", &safetensors)]);
    fs::write(folder.path().join("generation_config.json"), r#"{"num_beams": 8}"#).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.weights_format(), "model.safetensors");
    assert_eq!(checkpoint.generation_config().unwrap()["num_beams"], 8);
    assert_eq!(checkpoint.root(), folder.path());
}

#[test]
fn code_in_a_pickle_is_refused_by_name() {
    let ask = |global: &str| {
        format!(
            "pytorch_model.bin asks to run '{global}', which is refused: weights must be plain \
             tensors"
        )
    };
    let message = |name| refusal(open_pickle(name));
    assert_eq!(message("evil_system"), ask("posix.system"));
    assert_eq!(message("evil_eval"), ask("builtins.eval"));
    assert_eq!(message("evil_inst"), ask("os.system"));
    assert_eq!(message("evil_name"), ask("subprocess.Popen"));
    assert_eq!(message("evil_build"), ask("torch.nn.modules.linear.Linear"));
}

#[test]
fn weights_of_another_kind_are_named() {
    let cases = [
        ("legacy_tar", "is in the tar format of PyTorch before version 0.1.10: convert it with"),
        ("big_endian", "was written big-endian"),
        ("script", "is a TorchScript program, not weights"),
        ("no_pickle", "is a zip archive without data.pkl"),
        ("compressed", "has a compressed entry"),
        ("cut_storage", "tensor 'weight' has a storage that was cut short"),
        ("lost_storage", "tensor 'weight' refers to a storage that the file lacks"),
        ("list", "holds a list, not a dictionary of tensors"),
        ("nested", "holds an integer under 'epoch' where a tensor is expected"),
        ("complex", "holds values of type torch.ComplexFloatStorage, which is not supported"),
        ("float8", "holds values of type torch.float8_e4m3fn, which is not supported"),
    ];
    for (name, part) in cases {
        let message = refusal(open_pickle(name));
        assert!(message.starts_with("pytorch_model.bin"), "{name}: {message}");
        assert!(message.contains(part), "{name}: {message}");
    }
}

/// Flax has its own names and its kernels transposed (`fixtures/make_flax.py`).
#[test]
fn flax_weights_are_the_same_tensors_as_pytorchs() {
    for name in ["bart-gelu", "t5-relu"] {
        let folder = TempDir::new().unwrap();
        let file = "flax_model.msgpack";
        let of_flax = fixtures().join("flax").join(name).join(file);
        fs::copy(of_flax, folder.path().join(file)).unwrap();
        let of_torch = fixtures().join("../tiny").join(name);
        fs::copy(of_torch.join("config.json"), folder.path().join("config.json")).unwrap();
        let [flax, torch] = [folder.path(), &*of_torch].map(|path| Checkpoint::open(path).unwrap());
        assert_eq!(flax.weights_format(), "flax_model.msgpack");
        let mut compared = 0;
        for tensor in flax.names().filter(|name| *name != "final_logits_bias") {
            let [of_flax, of_torch] =
                [&flax, &torch].map(|of| of.tensor(tensor).unwrap_or_else(|| panic!("{tensor}")));
            assert!(of_flax.same_values(&of_torch), "{name}: {tensor}");
            compared += 1;
        }
        let all = torch.names().filter(|name| *name != "final_logits_bias").count();
        assert_eq!(compared, all, "{name}");
    }
}

#[test]
fn flax_weights_that_lie_are_refused() {
    let of = |bytes: &[u8]| refused(&[("flax_model.msgpack", bytes)]);
    assert!(of(b"").contains("is empty"));
    assert!(of(b"PK\x03\x04").contains("is not a whole file of Flax weights"));
    assert!(of(b"\xdf\xff\xff\xff\xff").contains("is not a whole file"));
    assert!(of(b"\x81\xa1a\xc0").contains("'a' is no array"));
    let deep = [&b"\x81\xa1a".repeat(40)[..], b"\x80"].concat();
    assert!(of(&deep).contains("has maps within maps"));
    let array = |shape: &[u8], kind: &str, values: &[u8]| {
        let kind = [&[0xa0 + kind.len() as u8][..], kind.as_bytes()].concat();
        let values = [&[0xc4, values.len() as u8][..], values].concat();
        let shape = [&[0x90 + shape.len() as u8][..], shape].concat();
        let whole = [&[0x93][..], &shape, &kind, &values].concat();
        [&b"\x81\xa1a\xc7"[..], &[whole.len() as u8, 1], &whole].concat()
    };
    let good = array(&[2], "float32", &[0; 8]);
    assert!(of(&good[..good.len() - 1]).contains("is not a whole file"));
    assert!(of(&array(&[3], "float32", &[0; 8])).contains("'a' has 8 bytes"));
    assert!(of(&array(&[2], "complex64", &[0; 16])).contains("is of type \"complex64\""));
    assert!(of(&array(&[0xff], "float32", &[0; 8])).contains("is not a whole file"));
    assert!(of(b"\x81\xa1a\xc7\x01\x02\x00").contains("'a' is of type 2"));
    let parts = b"\x81\xa1a\x81\xb9__msgpack_chunked_array__\xc3";
    assert!(of(parts).contains("an array of more than 1 GiB in parts"));
}

#[test]
fn what_a_folder_lacks_is_said() {
    let nothing = TempDir::new().unwrap();
    assert!(refusal(Checkpoint::open(nothing.path())).contains("holds no config.json"));
    assert!(refused(&[]).contains("holds no weights: pytorch_model.bin or model.safetensors"));
    assert!(refused(&[("tf_model.h5", b"")]).contains("holds only TensorFlow weights"));
    let shard = "flax_model-00001-of-00002.msgpack";
    assert!(refused(&[(shard, b"")]).contains("holds only Flax weights in shards"));
    let gptq: &[(&str, &[u8])] =
        &[("config.json", br#"{"quantization_config": {"quant_method": "gptq"}}"#)];
    assert_eq!(
        refused(gptq),
        "config.json: field 'quantization_config' says that the weights are quantized with gptq, \
         which cannot be read: give the checkpoint that they were made from"
    );
}

#[test]
fn configurations_that_are_no_objects_are_refused() {
    assert_eq!(refused(&[("config.json", b"[1]")]), "config.json is not a JSON object");
    let message = refused(&[("config.json", b"{\"a\": ")]);
    assert!(message.starts_with("config.json is not valid JSON: EOF"), "{message}");
    let deep = "[".repeat(100_000);
    assert!(refused(&[("config.json", deep.as_bytes())]).contains("recursion limit"));
    let message = refused(&[("generation_config.json", b"3")]);
    assert_eq!(message, "generation_config.json is not a JSON object");
}

#[test]
fn files_that_are_no_weights_are_refused() {
    let bin = |bytes: &[u8]| refused(&[("pytorch_model.bin", bytes)]);
    assert_eq!(bin(b""), "pytorch_model.bin is empty: fetch it again");
    assert!(bin(b"<html>").contains("is a web page"));
    assert!(bin(b"GGUF").contains("is not a file that torch.save wrote"));
    assert!(bin(b"PK\x03\x04").contains("is cut short or damaged"));
    assert!(bin(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
    let message = refused(&[("model.safetensors", b"nonsense")]);
    assert!(message.contains("model.safetensors is not a whole safetensors file"), "{message}");
}

#[test]
fn indices_that_disagree_with_their_shards_are_refused() {
    let weights = fs::read(fixtures().join("forms/safetensors/model.safetensors")).unwrap();
    let with = |map: Value| {
        let index = json!({ "weight_map": map }).to_string();
        refused(&[("model.safetensors.index.json", index.as_bytes()), ("a.safetensors", &weights)])
    };
    assert_eq!(
        with(json!({"model.shared.weight": "b.safetensors"})),
        "model.safetensors.index.json lists 'b.safetensors', which is missing: \
         fetch the whole checkpoint"
    );
    assert_eq!(
        with(json!({"nothing": "a.safetensors"})),
        "a.safetensors lacks the tensor 'nothing' that model.safetensors.index.json says it holds: \
         the files are not of one checkpoint"
    );
    assert!(with(json!({"a": "../a.safetensors"})).contains("is not a plain file name"));
    assert!(with(json!({"a": "/etc/passwd"})).contains("is not a plain file name"));
    assert!(with(json!({"a": 3})).contains("are not file names"));
    assert!(with(json!([])).contains("has no object 'weight_map'"));
}

#[test]
fn a_type_without_meaning_here_is_named() {
    let header = br#"{"w":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(&[0, 0]);
    let message = refused(&[("model.safetensors", &bytes)]);
    assert!(message.contains("tensor 'w' is of type F8_E4M3, which is not supported"), "{message}");
}

#[test]
fn a_missing_folder_is_an_error_of_the_system() {
    let error = Checkpoint::open(Path::new("no/such/folder")).err().unwrap();
    assert!(matches!(error, Error::Io { .. }));
}

/// A sparse file beyond 4 GB, as real files are.
#[cfg(unix)]
#[test]
fn offsets_beyond_4_gib_are_read_from_zip64() {
    use std::io::{Seek, SeekFrom, Write};

    let program: &[u8] = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n\
        ((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu\
        K\x02tQK\x00K\x02\x85K\x01\x85\x89}tRs.";
    let far = 5u64 << 30;
    let values: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let folder = folder(&[]);
    let path = folder.path().join("pytorch_model.bin");
    let mut file = fs::File::create(&path).unwrap();

    let local = |name: &str, size: usize| {
        let mut header =
            b"PK\x03\x04\x2d\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
        header.extend_from_slice(&(size as u32).to_le_bytes().repeat(2));
        header.extend_from_slice(&(name.len() as u32).to_le_bytes());
        header.extend_from_slice(name.as_bytes());
        header
    };
    let central = |name: &str, size: usize, at: u64| {
        let mut header =
            b"PK\x01\x02\x2d\x00\x2d\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
        header.extend_from_slice(&(size as u32).to_le_bytes().repeat(2));
        header.extend_from_slice(&(name.len() as u16).to_le_bytes());
        header.extend_from_slice(&12u16.to_le_bytes());
        header.extend_from_slice(&[0; 10]);
        header.extend_from_slice(&u32::MAX.to_le_bytes());
        header.extend_from_slice(name.as_bytes());
        header.extend_from_slice(b"\x01\x00\x08\x00");
        header.extend_from_slice(&at.to_le_bytes());
        header
    };
    file.write_all(&local("m/data.pkl", program.len())).unwrap();
    file.write_all(program).unwrap();
    file.seek(SeekFrom::Start(far)).unwrap();
    file.write_all(&local("m/data/0", values.len())).unwrap();
    file.write_all(&values).unwrap();
    let directory = file.stream_position().unwrap();
    file.write_all(&central("m/data.pkl", program.len(), 0)).unwrap();
    file.write_all(&central("m/data/0", values.len(), far)).unwrap();
    let end = file.stream_position().unwrap();
    file.write_all(b"PK\x06\x06").unwrap();
    file.write_all(&44u64.to_le_bytes()).unwrap();
    file.write_all(&[0; 12]).unwrap();
    for field in [2, 2, end - directory, directory] {
        file.write_all(&field.to_le_bytes()).unwrap();
    }
    file.write_all(b"PK\x06\x07\0\0\0\0").unwrap();
    file.write_all(&end.to_le_bytes()).unwrap();
    file.write_all(&1u32.to_le_bytes()).unwrap();
    file.write_all(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0")
        .unwrap();
    drop(file);

    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.tensor("w").unwrap().to_f32(), [1.5, -2.0]);
}

/// Opens a checkpoint of `fixtures/checkpoints/quantized` whose tensors, by type, shape and bytes,
/// were changed by `change`.
fn quantized_with(
    name: &str,
    change: impl Fn(&str, &mut Vec<usize>, &mut Vec<u8>),
) -> Result<(TempDir, Checkpoint)> {
    let from = fixtures().join("quantized").join(name);
    let bytes = fs::read(from.join("model.safetensors")).unwrap();
    let whole = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors: Vec<_> = whole
        .iter()
        .map(|(name, view)| {
            let (mut shape, mut data) = (view.shape().to_vec(), view.data().to_vec());
            change(name, &mut shape, &mut data);
            (name, view.dtype(), shape, data)
        })
        .collect();
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        let view = safetensors::tensor::TensorView::new(*dtype, shape.clone(), data);
        (*name, view.unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    let config = fs::read(from.join("config.json")).unwrap();
    let folder = folder(&[("model.safetensors", &bytes), ("config.json", &config)]);
    let checkpoint = Checkpoint::open(folder.path())?;
    Ok((folder, checkpoint))
}

#[test]
fn quantized_weights_are_what_bitsandbytes_makes_of_them() {
    for name in ["int8", "nf4", "nf4-nested", "fp4"] {
        let path = fixtures().join("quantized").join(format!("{name}.json"));
        let expected: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let checkpoint = Checkpoint::open(&fixtures().join("quantized").join(name)).unwrap();
        for (tensor, expected) in expected.as_object().unwrap() {
            let found = checkpoint.tensor(tensor).unwrap();
            assert_eq!(json!(found.shape()), expected["shape"], "{name} {tensor}");
            let values = expected["values"].as_array().unwrap();
            let found = found.to_f32();
            assert_eq!(found.len(), values.len());
            for (found, expected) in found.iter().zip(values) {
                let expected = expected.as_f64().unwrap();
                let distance = (f64::from(*found) - expected).abs();
                assert!(
                    distance <= 1e-6 * expected.abs(),
                    "{name} {tensor}: {found} for {expected}"
                );
            }
        }
        // The parts are not tensors of the checkpoint.
        let parts = ["SCB", "absmax", "quant_map", "weight_format"];
        assert!(checkpoint.names().all(|name| !parts.iter().any(|part| name.ends_with(part))));
    }
}

#[test]
fn quantized_weights_whose_parts_lie_are_refused() {
    let refused = |name: &str, suffix: &str, change: &dyn Fn(&mut Vec<usize>, &mut Vec<u8>)| {
        let opened = quantized_with(name, |tensor, shape, data| {
            if tensor.ends_with(suffix) && tensor.contains("encoder.layers.0.self_attn.q_proj") {
                change(shape, data);
            }
        });
        let message = refusal(opened);
        assert!(message.contains("model.encoder.layers.0.self_attn.q_proj.weight"), "{message}");
        message
    };
    let shorter = |shape: &mut Vec<usize>, data: &mut Vec<u8>| {
        let size = data.len() / shape[0];
        shape[0] -= 1;
        data.truncate(data.len() - size);
    };
    assert!(refused("int8", ".SCB", &shorter).contains("is quantized to 8 bits with the shape"));
    let told = "do not fit";
    for part in [".absmax", ".q_proj.weight", ".quant_map"] {
        assert!(refused("nf4", part, &shorter).contains(told));
    }
    for part in [".nested_absmax", ".nested_quant_map"] {
        assert!(refused("nf4-nested", part, &shorter).contains(told));
    }
    let state = |text: &'static str| {
        refused("nf4", "__nf4", &move |shape, data| {
            *data = text.as_bytes().to_vec();
            *shape = vec![data.len()];
        })
    };
    assert!(state("{}").contains("has a quant_state that bitsandbytes did not write"));
    for shape in ["[1152921504606846976, 1152921504606846976]", "[16, 17]", "[256]", "[]"] {
        let text = format!(r#"{{"blocksize": 64, "dtype": "float32", "shape": {shape}}}"#);
        assert!(state(text.leak()).contains(told));
    }
    assert!(state(r#"{"blocksize": 0, "dtype": "float32", "shape": [16, 16]}"#).contains(told));
    let unknown = state(r#"{"blocksize": 64, "dtype": "int3", "shape": [16, 16]}"#);
    assert!(unknown.contains("is quantized from the unknown type"));
}
