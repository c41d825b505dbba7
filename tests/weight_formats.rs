//! One model with its weights saved in every form. The bundles are byte for byte the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::common::{Exported, fixture};
use serde_json::Value;

/// All files of the bundle made from the form in `folder`, with a tokenizer next to its weights.
/// The manifest has no record of the source.
fn bundle(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let work = tempfile::tempdir().unwrap();
    let source = work.path().join("checkpoint");
    fs::create_dir(&source).unwrap();
    let tokenizer = fixture("tiny/pegasus-relu/tokenizer.json");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for file in files.chain([tokenizer]) {
        fs::copy(&file, source.join(file.file_name().unwrap())).unwrap();
    }
    let exported = Exported::attempt(&source).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let files = fs::read_dir(exported.path()).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut bytes = fs::read(&path).unwrap();
        if name == "manifest.json" {
            let mut manifest: Value = serde_json::from_slice(&bytes).unwrap();
            let record = manifest.as_object_mut().unwrap().remove("source");
            assert!(record.unwrap()["weights"].is_string());
            bytes = manifest.to_string().into_bytes();
        }
        (name, bytes)
    });
    files.collect()
}

#[test]
fn every_form_of_the_weights_gives_the_same_bundle() {
    let forms = fixture("checkpoints/forms");
    let names: BTreeSet<String> = fs::read_dir(&forms)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let all = [
        "bin",
        "bin-ddp",
        "bin-shards",
        "bin-untied",
        "safetensors",
        "safetensors-head",
        "safetensors-shards",
        "safetensors-shared",
        "safetensors-twice",
    ];
    assert!(names.iter().eq(all), "{names:?}");
    let expected = bundle(&forms.join("bin"));
    assert_eq!(expected.len(), 6);
    for name in all {
        let found = bundle(&forms.join(name));
        assert!(found.keys().eq(expected.keys()), "{name}");
        for (file, bytes) in &expected {
            assert!(found[file] == *bytes, "{file} of {name} differs");
        }
    }
}
