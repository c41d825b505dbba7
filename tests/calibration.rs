//! Exports that are calibrated with documents.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{
    Exported, bundle, bundle_in, epitome, fails, fixture, run, succeeds, summarizer, text,
    tiny_checkpoints,
};
use epitome_evaluation::compare::{ComparisonRecord, compare};
use epitome_evaluation::data::Dataset;
use epitome_export::{Calibration, ExportOptions, export};
use epitome_runtime::GenerationParameters;
use epitome_runtime::bundle::{Bundle, Precision};

/// Calibration almost halves the loss of int4 on documents that it did not see.
#[test]
fn a_calibrated_model_is_nearer_to_full_precision() {
    const TRAINED: &str = "pegasus-debian.tar.gz";
    let data = Dataset::read(&fixture("summaries/validation-1000.csv"), None).unwrap();
    let texts = data.documents[..32].iter().map(|document| document.text.clone()).collect();
    let calibration = Calibration { name: "first".into(), texts };
    let options = ExportOptions {
        precision: Precision::Int4,
        calibration: Some(&calibration),
        ..ExportOptions::default()
    };
    let calibrated = Exported::attempt_with(TRAINED, &options).unwrap();
    let plain = bundle_in(TRAINED, Precision::Int4).unwrap();
    let held_out = Dataset { documents: data.documents[500..524].to_vec(), ..Dataset::default() };
    let mut a = summarizer(bundle(TRAINED));
    let [plain, calibrated] = [plain.as_path(), calibrated.path()].map(|bundle| {
        let mut b = summarizer(bundle);
        let parameters = GenerationParameters { num_beams: Some(1), ..Default::default() };
        let found = compare([&mut a, &mut b], &held_out, [&parameters; 2], &()).unwrap();
        let record = ComparisonRecord::new([a.bundle(), b.bundle()], &found);
        record.logits.expect("one vocabulary").mean
    });
    println!("{plain:.4} by itself, {calibrated:.4} calibrated");
    assert!(calibrated < 0.6 * plain, "{calibrated} and {plain}");
}

/// Digest of the weights of `tiny/pegasus-relu` in int4 without calibration.
const UNCALIBRATED: &str = "7c8c46fed0dc67e896563dc9f0c5d19fee8490b386283f9a71556951cceb017c";

fn weights_digest(bundle: &Path) -> String {
    let bundle = Bundle::open(bundle).unwrap();
    bundle.manifest().files["weights.bin"].sha256.clone()
}

#[test]
fn documents_are_read_as_everywhere_and_shown_in_the_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("bundle");
    let export = |documents: &Path, threads: &str, more: &[&str]| {
        let mut command = epitome();
        command.args(["export", "--precision", "int4"]).arg(fixture("tiny/pegasus-relu"));
        command.arg("--output").arg(&output).arg("--calibrate").arg(documents).args(more);
        command.env("RAYON_NUM_THREADS", threads);
        succeeds(&mut command).1
    };
    let long = "the river rose and fell ".repeat(200);
    let texts = ["A short text about a small tool.", "Snow fell on the hills.", &long];
    let rows: String = texts.map(|text| format!("{text},{}\n", text.len())).concat();
    let table = folder.path().join("documents.csv");
    fs::write(&table, format!("body,size\n{rows}\n")).unwrap();
    let told = export(&table, "1", &["--calibrate-text-column", "body"]);
    assert!(told.contains("Calibrating ..."), "{told}");
    assert!(told.contains("Calibrated with 3 documents of documents.csv"), "{told}");
    let first = weights_digest(&output);
    assert_ne!(first, UNCALIBRATED);
    let mut found: Vec<String> = fs::read_dir(&output)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "manifest.json")
        .collect();
    found.sort();
    let bundle = Bundle::open(&output).unwrap();
    assert!(found.iter().eq(bundle.manifest().files.keys()), "{found:?}");
    let shown = succeeds(epitome().args(["inspect", "--check"]).arg(&output)).0;
    assert!(shown.contains("calibrated     with 3 documents of documents.csv\n"), "{shown}");
    let record = bundle.manifest().calibration.clone().unwrap();
    assert!(shown.contains(&record.digest), "{shown}");

    // The same texts in another file, and with another number of threads.
    let lines = folder.path().join("documents.jsonl");
    let rows = texts.map(|text| serde_json::json!({ "text": text }).to_string());
    fs::write(&lines, rows.join("\n")).unwrap();
    export(&lines, "3", &[]);
    assert_eq!(weights_digest(&output), first);
    let bundle = Bundle::open(&output).unwrap();
    assert_eq!(bundle.manifest().calibration.as_ref().unwrap().digest, record.digest);

    let told = export(&lines, "2", &["--calibrate-limit", "1"]);
    assert!(told.contains("Calibrated with 1 document of documents.jsonl"), "{told}");
    assert_ne!(weights_digest(&output), first);
}

#[test]
fn without_documents_weights_are_rounded_by_themselves() {
    let output = bundle_in("tiny/pegasus-relu", Precision::Int4).unwrap();
    assert_eq!(weights_digest(&output), UNCALIBRATED);
    assert_eq!(Bundle::open(&output).unwrap().manifest().calibration, None);
}

/// Covers every kind of layer, including experts behind a router.
#[test]
fn every_architecture_can_be_calibrated() {
    let folder = tempfile::tempdir().unwrap();
    let texts = vec!["A short text about a small tool.".into(), "Snow fell on the hills.".into()];
    let calibration = Calibration { name: "two".into(), texts };
    for name in tiny_checkpoints("") {
        let options = ExportOptions {
            precision: Precision::Int4,
            calibration: Some(&calibration),
            ..ExportOptions::default()
        };
        let exported = export(&fixture("tiny").join(&name), &folder.path().join(&name), &options);
        assert!(exported.is_ok(), "{name}: {}", exported.unwrap_err());
    }
}

#[test]
fn a_bad_file_of_a_folder_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let documents = folder.path().join("documents");
    fs::create_dir(&documents).unwrap();
    fs::write(documents.join("a.pdf"), "%PDF-1.7 and nothing else").unwrap();
    fs::write(documents.join("b.bin"), [0u8, 159, 146, 150].repeat(50)).unwrap();
    fs::write(documents.join("c.txt"), "Snow fell on the hills.").unwrap();
    let output = folder.path().join("bundle");
    let export = || {
        let mut command = epitome();
        command.args(["export", "--precision", "int4"]).arg(fixture("tiny/pegasus-relu"));
        command.arg("--output").arg(&output).arg("--calibrate").arg(&documents);
        command
    };
    let told = succeeds(&mut export()).1;
    assert!(told.contains("note: passed over a file: ") && told.contains("a.pdf"), "{told}");
    assert!(told.contains("Calibrated with 1 document of documents"), "{told}");
    fs::remove_file(documents.join("c.txt")).unwrap();
    fs::remove_dir_all(&output).unwrap();
    fails(&mut export(), 1, &["documents has no text in it"]);
    assert!(!output.exists());
}

/// A copy of `tiny/pegasus-relu` with a changed generation default.
fn with_default(folder: &Path, name: &str, value: serde_json::Value) -> PathBuf {
    let copy = folder.join(name);
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(fixture("tiny/pegasus-relu")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let path = copy.join("generation_config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[name] = value;
    fs::write(&path, config.to_string()).unwrap();
    copy
}

#[test]
fn a_models_own_time_limit_does_not_cut_what_is_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let texts = vec!["A short text about a small tool.".into()];
    let calibration = Calibration { name: "one".into(), texts };
    let limited = with_default(folder.path(), "max_time", 1e-9.into());
    let digests = [fixture("tiny/pegasus-relu"), limited].map(|source| {
        let output = folder.path().join("bundle");
        let options = ExportOptions {
            precision: Precision::Int4,
            calibration: Some(&calibration),
            ..ExportOptions::default()
        };
        export(&source, &output, &options).unwrap();
        weights_digest(&output)
    });
    assert_eq!(digests[0], digests[1]);
}

/// The checkpoint is wrong, not the command.
#[test]
fn defaults_that_cannot_be_used_are_told_as_by_any_export() {
    let folder = tempfile::tempdir().unwrap();
    let documents = folder.path().join("documents.txt");
    fs::write(&documents, "Snow fell on the hills.").unwrap();
    let source = with_default(folder.path(), "num_return_sequences", 5.into());
    let output = folder.path().join("bundle");
    for more in [&[][..], &["--calibrate".as_ref(), documents.as_os_str()]] {
        let mut command = epitome();
        command.args(["export", "--precision", "int4"]).arg(&source).args(more);
        fails(command.arg("--output").arg(&output), 1, &["unsound", "num_return_sequences"]);
    }
}

#[test]
fn what_cannot_be_calibrated_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("bundle");
    let export = |precision: &str, documents: &Path| {
        let mut command = epitome();
        command.args(["export", "--precision", precision]).arg(fixture("tiny/pegasus-relu"));
        command.arg("--output").arg(&output).arg("--calibrate").arg(documents);
        command
    };
    let documents = folder.path().join("documents.txt");
    fs::write(&documents, "Snow fell on the hills.").unwrap();
    for precision in ["fp32", "fp16", "int8"] {
        let words = ["--calibrate", "int4", precision];
        fails(&mut export(precision, &documents), 2, &words);
    }
    let mut portable = export("int4", &documents);
    fails(portable.args(["--layout", "optimum"]), 2, &["--calibrate", "--layout optimum"]);
    fails(&mut export("int4", &folder.path().join("none.csv")), 2, &["none.csv", "exist"]);
    fs::write(&documents, " \n").unwrap();
    fails(&mut export("int4", &documents), 1, &["documents.txt", "text"]);
    assert!(!output.exists());
    let alone = run(epitome()
        .args(["export", "--precision", "int4", "--calibrate-limit", "3"])
        .arg(fixture("tiny/pegasus-relu"))
        .arg("--output")
        .arg(&output));
    assert_eq!(alone.status.code(), Some(2), "{}", text(&alone.stderr));
}
