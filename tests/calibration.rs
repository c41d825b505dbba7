//! Exports that are calibrated with documents.

use std::fs;
use std::path::Path;

use crate::common::{epitome, fails, fixture, run, succeeds, text, tiny_checkpoints};
use epitome_evaluation::compare::{ComparisonRecord, compare};
use epitome_evaluation::data::Dataset;
use epitome_export::{Calibration, ExportOptions, export};
use epitome_runtime::bundle::{Bundle, Precision};
use epitome_runtime::{GenerationParameters, Summarizer};

/// The trained model in int4, rounded by these documents or by itself.
fn trained(output: &Path, calibration: Option<&Calibration>) {
    let options =
        ExportOptions { precision: Precision::Int4, calibration, ..ExportOptions::default() };
    export(&fixture("pegasus-debian.tar.gz"), output, &options).unwrap();
}

/// Calibrating halves what int4 loses, on documents that it did not see.
#[test]
fn a_calibrated_model_is_nearer_to_full_precision() {
    let folder = tempfile::tempdir().unwrap();
    let [full, plain, calibrated] =
        ["full", "plain", "calibrated"].map(|name| folder.path().join(name));
    let data = Dataset::read(&fixture("summaries/validation-1000.csv"), None).unwrap();
    let texts = data.documents[..64].iter().map(|document| document.text.clone()).collect();
    let calibration = Calibration { name: "first".into(), texts };
    export(&fixture("pegasus-debian.tar.gz"), &full, &ExportOptions::default()).unwrap();
    trained(&plain, None);
    trained(&calibrated, Some(&calibration));
    let held_out = Dataset { documents: data.documents[500..540].to_vec(), ..Dataset::default() };
    let mut a = Summarizer::open(&full).unwrap();
    let [plain, calibrated] = [plain, calibrated].map(|bundle| {
        let mut b = Summarizer::open(bundle).unwrap();
        let parameters = GenerationParameters { num_beams: Some(1), ..Default::default() };
        let found = compare([&mut a, &mut b], &held_out, [&parameters; 2], &()).unwrap();
        let record = ComparisonRecord::new([a.bundle(), b.bundle()], &found);
        record.logits.expect("one vocabulary").mean
    });
    println!("{plain:.4} by itself, {calibrated:.4} calibrated");
    assert!(calibrated < 0.06 && calibrated < 0.65 * plain, "{calibrated} and {plain}");
}

/// Digest of the weights of `tiny/pegasus-relu` in int4, rounded by themselves.
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
    let told = export(&table, "1", &["--text-column", "body"]);
    assert!(told.contains("Calibrating ..."), "{told}");
    assert!(told.contains("Calibrated with 3 documents of documents.csv"), "{told}");
    let first = weights_digest(&output);
    assert_ne!(first, UNCALIBRATED);
    let shown = succeeds(epitome().args(["inspect", "--check"]).arg(&output)).0;
    assert!(shown.contains("calibrated     with 3 documents of documents.csv\n"), "{shown}");
    let bundle = Bundle::open(&output).unwrap();
    let record = bundle.manifest().calibration.clone().unwrap();
    assert!(shown.contains(&record.digest), "{shown}");

    // The same texts in another file, and with other threads.
    let lines = folder.path().join("documents.jsonl");
    let rows = texts.map(|text| serde_json::json!({ "text": text }).to_string());
    fs::write(&lines, rows.join("\n")).unwrap();
    export(&lines, "3", &[]);
    assert_eq!(weights_digest(&output), first);
    let bundle = Bundle::open(&output).unwrap();
    assert_eq!(bundle.manifest().calibration.as_ref().unwrap().digest, record.digest);

    let told = export(&lines, "2", &["--calibrate-limit", "1"]);
    assert!(told.contains("Calibrated with 1 documents of documents.jsonl"), "{told}");
    assert_ne!(weights_digest(&output), first);
}

#[test]
fn without_documents_weights_are_rounded_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("bundle");
    let options = ExportOptions { precision: Precision::Int4, ..ExportOptions::default() };
    export(&fixture("tiny/pegasus-relu"), &output, &options).unwrap();
    assert_eq!(weights_digest(&output), UNCALIBRATED);
    assert_eq!(Bundle::open(&output).unwrap().manifest().calibration, None);
}

/// Every kind of layer, those that a router chooses among them.
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
