//! Fuzzes the loader of bundles, with wrong manifests, and with damaged graphs whose digests are
//! right.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use epitome_runtime::bundle::{DECODER, ENCODER, FILES, GENERATION_CONFIG, MANIFEST, digest};
use epitome_runtime::{GenerationParameters, SessionOptions, Summarizer};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{End, Random, fixture, run};
use crate::{ExportOptions, export};

/// A valid bundle.
fn sound() -> &'static Path {
    static BUNDLE: OnceLock<TempDir> = OnceLock::new();
    let folder = BUNDLE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = folder.path().join("bundle");
        let source = fixture("tiny/pegasus-relu");
        export(&source, &output, &ExportOptions::default()).expect("a bundle");
        folder
    });
    folder.path()
}

fn manifest() -> Value {
    let text = fs::read(sound().join("bundle").join(MANIFEST)).expect("a manifest");
    serde_json::from_slice(&text).expect("JSON")
}

/// Writes the valid bundle with this manifest, and with other contents of one file.
fn write(folder: &Path, mut manifest: Value, changed: Option<(&str, Vec<u8>)>) {
    for name in FILES {
        let from = sound().join("bundle").join(name);
        match &changed {
            Some((other, bytes)) if *other == name => {
                manifest["files"][name] =
                    json!({"bytes": bytes.len(), "sha256": digest::bytes(bytes)});
                fs::write(folder.join(name), bytes).expect("a file");
            }
            _ => fs::hard_link(&from, folder.join(name)).expect("a link"),
        }
    }
    fs::write(folder.join(MANIFEST), manifest.to_string()).expect("a manifest");
}

/// Opens the bundle, and summarizes with beams and with drafts.
fn summarize(folder: &Path) -> End {
    let threads = std::num::NonZeroUsize::MIN;
    let options =
        SessionOptions { threads, prepack: false, spin: false, ..SessionOptions::default() };
    let Ok(mut summarizer) = Summarizer::open_with(folder, &options) else {
        return End::Refusal;
    };
    let mut end = End::Answer;
    for parameters in [
        json!({"num_beams": 2, "max_length": 6}),
        json!({"prompt_lookup_num_tokens": 3, "max_length": 8}),
    ] {
        let parameters = parameters.as_object().expect("a map");
        let parameters = GenerationParameters::from_json(parameters).expect("valid");
        let texts = ["The river rose, the river rose.", "It fell."];
        if summarizer.summarize(&texts, &parameters).is_err() {
            end = End::Refusal;
        }
    }
    end
}

/// Changes a JSON value at any depth.
fn change(random: &mut Random, value: &mut Value) {
    let deeper = !random.chance(6);
    match value {
        Value::Object(fields) if deeper && !fields.is_empty() => {
            let at = random.below(fields.len());
            let name = fields.keys().nth(at).expect("within").clone();
            if random.chance(8) {
                fields.remove(&name);
            } else {
                change(random, &mut fields[&name]);
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = random.below(items.len());
            change(random, &mut items[at]);
        }
        _ => {
            let size = random.size();
            *value = match (random.below(10), value.as_u64()) {
                (0, _) => Value::Null,
                (1, _) => json!("text"),
                (2, _) => json!([]),
                (3, _) => json!({}),
                (4, _) => json!(-1),
                (5, _) => json!(1.5),
                (6, Some(number)) => json!(number.wrapping_add(1)),
                (7, Some(number)) => json!(number.saturating_sub(1)),
                (8, Some(number)) => json!(number.wrapping_mul(2)),
                _ => json!(size),
            };
        }
    }
}

#[test]
fn a_manifest_that_lies_gives_an_answer_or_an_error() {
    run(|random| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut manifest = manifest();
        for _ in 0..=random.below(2) {
            // Mostly changes sizes, which determine buffers.
            let whole = random.chance(4) || manifest.get("shape").is_none();
            let target = if whole { &mut manifest } else { &mut manifest["shape"] };
            change(random, target);
        }
        write(folder.path(), manifest, None);
        summarize(folder.path())
    });
}

#[test]
fn generation_defaults_of_any_kind_give_an_answer_or_an_error() {
    run(|random| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = fs::read(sound().join("bundle").join(GENERATION_CONFIG)).expect("defaults");
        let mut defaults: Value = serde_json::from_slice(&text).expect("JSON");
        change(random, &mut defaults);
        let changed = Some((GENERATION_CONFIG, defaults.to_string().into_bytes()));
        write(folder.path(), manifest(), changed);
        summarize(folder.path())
    });
}

#[test]
fn a_damaged_graph_gives_an_answer_or_an_error() {
    run(|random| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let name = *random.pick(&[ENCODER, DECODER]);
        let mut bytes = fs::read(sound().join("bundle").join(name)).expect("a graph");
        random.damage(&mut bytes);
        write(folder.path(), manifest(), Some((name, bytes)));
        summarize(folder.path())
    });
}

/// Each of these sizes once led to an abort of the process.
#[test]
fn sizes_that_the_graphs_do_not_have_are_refused_by_name() {
    for (name, size, said) in [
        ("decoder_layers", 1, "encoder.onnx"),
        ("decoder_layers", 3, "encoder.onnx"),
        ("decoder_layers", usize::MAX, "shape.head_size"),
        ("encoder_layers", usize::MAX, "shape.encoder_layers"),
        ("heads", 2, "encoder.onnx"),
        ("head_size", 16, "encoder.onnx"),
        ("head_size", 1 << 40, "shape.head_size"),
        ("hidden_size", 64, "encoder.onnx"),
        ("vocab_size", 204, "decoder.onnx"),
        ("vocab_size", 1 << 40, "shape.vocab_size"),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut manifest = manifest();
        manifest["shape"][name] = json!(size);
        write(folder.path(), manifest, None);
        let error = Summarizer::open(folder.path()).err().expect(name).to_string();
        assert!(error.contains(said), "{name} {size}: {error}");
    }
}
