//! Merges adapters of PEFT (`fixtures/make_adapters.py`) into their bases and compares the
//! summaries with PEFT's; and adapters with one error each.

use std::fs;
use std::path::{Path, PathBuf};

use epitome_export::source::{Origin, Source};
use epitome_export::{Error, ExportOptions, export};
use epitome_runtime::{GenerationParameters, Summarizer};
use flate2::{Compression, write::GzEncoder};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}

fn adapter(name: &str) -> PathBuf {
    fixture("adapters").join(name)
}

fn goldens() -> Value {
    serde_json::from_slice(&fs::read(adapter("goldens.json")).unwrap()).unwrap()
}

/// Copies the files of a folder into another, changed by `change`.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The token ids of the summaries of every text.
fn summaries(bundle: &Path, golden: &Value) -> Vec<Vec<u64>> {
    let mut summarizer = Summarizer::open(bundle).unwrap();
    let parameters = golden["parameters"].as_object().unwrap();
    let parameters = GenerationParameters::from_json(parameters).unwrap();
    let texts = golden["texts"].as_array().unwrap().iter();
    texts
        .map(|text| {
            let text = text.as_str().unwrap();
            let summary = summarizer.summarize(&[text], &parameters).unwrap().remove(0);
            let ids = summary.sequences[0].token_ids.iter();
            ids.map(|&id| u64::from(id)).collect()
        })
        .collect()
}

/// The golden token ids of an adapter, without padding.
fn expected(golden: &Value, name: &str) -> Vec<Vec<u64>> {
    let rows = golden["adapters"][name]["token_ids"].as_array().unwrap();
    let row = |row: &Value| row.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    rows.iter().map(row).collect()
}

fn export_with(source: &impl AsRef<Path>, base: Option<&dyn Origin>) -> Result<TempDir, Error> {
    let folder = TempDir::new().unwrap();
    let options = ExportOptions { base, verify: false, ..ExportOptions::default() };
    export(source.as_ref(), &folder.path().join("bundle"), &options)?;
    Ok(folder)
}

#[test]
fn every_adapter_says_what_peft_says() {
    let golden = goldens();
    let adapters = golden["adapters"].as_object().unwrap();
    assert!(adapters.len() >= 20);
    for (name, of) in adapters {
        let base = fixture(of["base"].as_str().unwrap());
        let exported = export_with(&adapter(name), Some(&base)).unwrap_or_else(|error| {
            panic!("{name}: {error}");
        });
        let found = summaries(&exported.path().join("bundle"), &golden);
        assert_eq!(found, expected(&golden, name), "{name}");
    }
}

/// The base of `lora`. None of its summaries equals one of the adapter.
fn base() -> PathBuf {
    fixture("tiny/bart-gelu")
}

fn archive(of: &Path) -> PathBuf {
    let path = of.with_extension("tar.gz");
    let file = fs::File::create(&path).unwrap();
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
    tar.append_dir_all("", of).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    path
}

#[test]
fn an_adapter_is_merged_wherever_it_lies() {
    let golden = goldens();
    let expected = expected(&golden, "lora");
    let folder = TempDir::new().unwrap();
    let beside = folder.path().join("beside");
    copy(&base(), &beside);
    copy(&adapter("lora"), &beside);
    let apart = folder.path().join("apart");
    copy(&base(), &apart.join("base"));
    copy(&adapter("lora"), &apart.join("adapter"));
    let step = folder.path().join("step");
    copy(&base(), &step.join("checkpoint-20"));
    copy(&adapter("lora"), &step.join("checkpoint-20"));
    for form in [beside, apart, step] {
        for source in [form.clone(), archive(&form)] {
            let exported = export_with(&source, None).unwrap();
            let found = summaries(&exported.path().join("bundle"), &golden);
            assert_eq!(found, expected, "{}", source.display());
        }
    }
    // The base and the adapter in separate archives.
    let alone = folder.path().join("alone");
    copy(&adapter("lora"), &alone);
    let packed_base = folder.path().join("base");
    copy(&base(), &packed_base);
    let exported = export_with(&archive(&alone), Some(&archive(&packed_base))).unwrap();
    assert_eq!(summaries(&exported.path().join("bundle"), &golden), expected);
}

#[test]
fn an_adapter_alone_asks_for_its_base() {
    let error = export_with(&adapter("lora"), None).unwrap_err();
    assert!(error.is_usage());
    assert_eq!(
        error.to_string(),
        format!(
            "{} holds an adapter and no model (its base is 'epitome/bart', which is not in the \
             local hub cache): give the model that it was trained on with --base (a folder, an \
             archive, or its name on the hub)",
            adapter("lora").display()
        )
    );
    let error = export_with(&base(), Some(&base())).unwrap_err();
    assert!(error.is_usage());
    assert!(error.to_string().contains("holds no adapter, which --base is for"));
    let error = export_with(&adapter("lora"), Some(&adapter("dora"))).unwrap_err();
    assert!(matches!(error, Error::AdapterWithoutBase { .. }));
    let error = export_with(&adapter("lora"), Some(&fixture("tiny/t5-gated"))).unwrap_err();
    assert!(error.to_string().contains("changes a weight that the base lacks"), "{error}");
    let error = export_with(&adapter("lora"), Some(&fixture("tiny/pegasus-relu"))).unwrap_err();
    assert!(error.to_string().contains("has matrices of the shapes"), "{error}");
}

#[test]
fn an_adapter_that_training_left_on_the_way_is_told() {
    struct Notes(std::sync::Mutex<Vec<String>>);
    impl epitome_runtime::Progress for Notes {
        fn note(&self, note: &str) {
            self.0.lock().unwrap().push(note.to_owned());
        }
    }
    let folder = TempDir::new().unwrap();
    copy(&base(), folder.path());
    copy(&adapter("lora"), &folder.path().join("checkpoint-9"));
    let notes = Notes(std::sync::Mutex::default());
    Source::open(folder.path(), None, &notes).unwrap();
    let notes = notes.0.into_inner().unwrap();
    assert!(notes[0].contains("without the adapter in 'checkpoint-9'"), "{notes:?}");
}

/// The error for a changed `adapter_config.json` and changed tensors of `lora`.
fn refused(fields: &Value, tensors: impl Fn(&mut Vec<(String, Vec<usize>, Vec<u8>)>)) -> String {
    let folder = TempDir::new().unwrap();
    copy(&base(), folder.path());
    let text = fs::read(adapter("lora/adapter_config.json")).unwrap();
    let mut config: Map<String, Value> = serde_json::from_slice(&text).unwrap();
    config.extend(fields.as_object().unwrap().clone());
    let text = Value::Object(config).to_string();
    fs::write(folder.path().join("adapter_config.json"), text).unwrap();
    let bytes = fs::read(adapter("lora/adapter_model.safetensors")).unwrap();
    let whole = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> = whole
        .iter()
        .map(|(name, view)| (name.to_owned(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    tensors(&mut all);
    let views = all.iter().map(|(name, shape, data)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    fs::write(folder.path().join("adapter_model.safetensors"), bytes).unwrap();
    export_with(&folder.path(), None).expect_err("must be refused").to_string()
}

#[test]
fn adapters_that_change_no_weights_or_are_not_known_are_named() {
    let refuse = |fields: Value| refused(&fields, |_| {});
    assert_eq!(
        refuse(json!({"peft_type": "PREFIX_TUNING"})),
        "adapter_config.json: field 'peft_type' is PREFIX_TUNING, which leaves the weights as they \
         are and puts trained vectors before each text: train with LoRA to export"
    );
    assert_eq!(
        refuse(json!({"peft_type": "LOHA"})),
        "adapter_config.json: field 'peft_type' is LOHA, which is not known: merge it with PEFT \
         (model.merge_and_unload()) and export what save_pretrained writes then"
    );
    assert!(refuse(json!({"peft_type": null})).contains("'peft_type' is missing"));
    assert!(
        refuse(json!({"use_qalora": true})).contains("'use_qalora' is set, which is not known")
    );
    assert!(refuse(json!({"layer_replication": [[0, 1]]})).contains("'layer_replication' is set"));
    let message = refuse(json!({"init_lora_weights": "pissa_niter_4"}));
    assert!(message.contains("says that training began with a changed base"), "{message}");
}

#[test]
fn adapters_that_lie_are_refused() {
    let refuse = |fields: Value| refused(&fields, |_| {});
    for rank in [json!(3), json!(1_000_000), json!({})] {
        let message = refuse(json!({"r": rank}));
        let told = ["has matrices of the shapes", "'r' is missing or not a number"];
        assert!(told.iter().any(|part| message.contains(part)), "{message}");
    }
    assert!(refuse(json!({"r": 0})).contains("the rank 0"));
    assert!(refuse(json!({"r": 1e300})).contains("the rank 1"));
    assert!(refuse(json!({"r": 2.5})).contains("the rank 2.5"));
    assert!(refuse(json!({"rank_pattern": {"q_proj": 9}})).contains("the rank 9"));
    assert!(refuse(json!({"rank_pattern": {"(": 4}})).contains("is not a regular expression"));
    let slow = json!({"alpha_pattern": {"(a*)*(x*)*\\1b|(.*)*\\3z": 4}});
    let message = refuse(slow.clone());
    assert!(message.contains("alpha_pattern") || message.contains("takes too long"), "{message}");
    assert!(refuse(json!({"use_dora": true})).contains("needs a lora_magnitude_vector of 16"));
    let message = refused(&json!({}), |tensors| drop(tensors.remove(0)));
    assert!(message.contains("has only one of the two matrices"), "{message}");
    let message = refused(&json!({}), |tensors| tensors[0].0 = "base_model.model.x.lora_E".into());
    assert!(message.contains("is not a tensor of LoRA"), "{message}");
    let message = refused(&json!({}), |tensors| {
        let (_, shape, data) = &mut tensors[0];
        (*shape, *data) = (vec![1 << 20, 0], vec![]);
    });
    assert!(message.contains("has matrices of the shapes"), "{message}");
    let message = refused(&json!({}), |tensors| tensors[0].2[2..4].copy_from_slice(&[0xc0, 0x7f]));
    assert!(message.contains("holds a NaN or an infinity"), "{message}");
    let message = refused(&json!({}), |tensors| {
        let name = "base_model.model.lm_head.weight";
        tensors.push((name.to_owned(), vec![1 << 40, 0], vec![]));
    });
    assert!(message.contains("'lm_head.weight' has shape [1099511627776, 0]"), "{message}");
    let message = refused(&json!({"trainable_token_indices": [1, 9_999_999]}), |tensors| {
        let name = "base_model.model.model.shared.token_adapter.trainable_tokens_delta";
        tensors.push((name.to_owned(), vec![2, 16], vec![0; 128]));
    });
    assert!(message.contains("has trained tokens of the shape [2, 16]"), "{message}");
}

/// Without the resized tables, the rows of the new tokens are unknown.
#[test]
fn a_resized_adapter_without_all_its_tables_is_refused() {
    let folder = TempDir::new().unwrap();
    copy(&fixture("tiny/pegasus-relu"), folder.path());
    copy(&adapter("resized-head"), folder.path());
    let file = folder.path().join("adapter_model.safetensors");
    let bytes = fs::read(&file).unwrap();
    let whole = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let kept = whole.iter().filter(|(name, _)| !name.contains("shared"));
    fs::write(&file, safetensors::serialize(kept, None).unwrap()).unwrap();
    let message = export_with(&folder.path(), None).expect_err("must be refused").to_string();
    assert!(message.contains("model.shared.weight"), "{message}");
    assert!(message.contains("save_embedding_layers=True"), "{message}");
}

#[test]
fn half_an_adapter_is_said() {
    for (missing, told) in [
        ("adapter_config.json", "adapter_config.json is missing beside the adapter's weights"),
        (
            "adapter_model.safetensors",
            "adapter_model.safetensors is missing beside adapter_config.json",
        ),
    ] {
        let folder = TempDir::new().unwrap();
        copy(&base(), folder.path());
        copy(&adapter("lora"), folder.path());
        fs::remove_file(folder.path().join(missing)).unwrap();
        let message = export_with(&folder.path(), None).unwrap_err().to_string();
        assert!(message.contains(told), "{message}");
    }
}
