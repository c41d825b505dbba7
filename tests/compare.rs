//! Tests of the command `epitome compare`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{bundle, epitome, fails, fixture, signal, succeeds};
use serde_json::Value;

fn compare(a: &Path, b: &Path, data: &Path, more: &[&str]) -> Command {
    let mut command = epitome();
    command.arg("compare").args([a, b]).arg("--data").arg(data).args(more);
    command
}

/// The JSON output of a comparison.
#[track_caller]
fn record(a: &Path, b: &Path, data: &Path, more: &[&str]) -> Value {
    let (found, _) = succeeds(&mut compare(a, b, data, &[&["--format", "json"], more].concat()));
    serde_json::from_str(&found).expect("one JSON object")
}

fn held_out() -> PathBuf {
    fixture("summaries/validation-1000.csv")
}

#[test]
fn a_bundle_is_equal_to_itself() {
    let path = bundle("pegasus-debian.tar.gz");
    let limit = ["--limit", "5", "--num-beams", "2"];
    let found = record(&path, &path, &held_out(), &limit);
    assert_eq!(found["documents"], 5);
    assert_eq!(found["references"], 5);
    assert_eq!(found["agreement"]["equal"], 1.0);
    assert_eq!(found["logits"]["max"], 0.0);
    assert_eq!(found["logits"]["same_choice"], 1.0);
    assert_eq!(found["rouge"]["means"][0], found["rouge"]["means"][1]);
    assert!(found["rouge"]["means"][0]["rougeL"].as_f64().unwrap() > 0.1);
    assert_eq!(found["rouge"]["difference"]["rougeL"]["high"], 0.0);
    assert_eq!(found["interrupted"], false);

    let (table, _) = succeeds(&mut compare(&path, &path, &held_out(), &limit));
    for words in [
        "ROUGE-L",
        "+0.00 (+0.00 to +0.00)",
        "Equal summaries: 100.0%",
        "100.0%\n",
        "5 documents, 5 with a reference summary",
    ] {
        assert!(table.contains(words), "'{words}' is missing in:\n{table}");
    }
}

#[test]
fn bundles_that_differ_are_told_apart() {
    let [a, b] = ["pegasus-relu", "pegasus-swish"].map(|name| bundle(Path::new("tiny").join(name)));
    let found = record(&a, &b, &held_out(), &["--limit", "4"]);
    let logits = &found["logits"];
    let number = |name: &str| logits[name].as_f64().expect(name);
    assert!(number("max") >= number("first_step_max") && number("first_step_max") > 0.0);
    assert!(number("mean") > 0.0 && number("mean") < number("max"));
    assert!(found["agreement"]["equal"].as_f64().unwrap() < 1.0);
    // Counts every step of A's summaries, including the step of the end token.
    let tokens = found["tokens"][0].as_f64().unwrap();
    assert_eq!(number("steps"), 4.0 * tokens);
    for (index, bundle) in [a, b].iter().enumerate() {
        let files = fs::read_dir(bundle).unwrap();
        let sizes = files.map(|file| file.unwrap()).map(|file| {
            let counted = file.file_name() != "manifest.json";
            u64::from(counted) * file.metadata().unwrap().len()
        });
        assert_eq!(found["bundles"][index]["bytes"], sizes.sum::<u64>());
    }
}

#[test]
fn other_vocabularies_leave_token_ids_and_logits_out() {
    let [a, b] = ["tiny/pegasus-relu", "pegasus-debian.tar.gz"].map(bundle);
    let found = record(&a, &b, &held_out(), &["--limit", "2"]);
    assert_eq!(found.get("logits"), None);
    assert_eq!(found.get("agreement"), None);
    assert!(found["rouge"]["means"][1].is_object());
}

/// A copy of a bundle with other generation defaults.
fn with_defaults(bundle: &Path, copy: &Path, defaults: &[(&str, Value)]) {
    fs::create_dir(copy).unwrap();
    for entry in fs::read_dir(bundle).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(copy.join(name)).unwrap()).unwrap()
    };
    let mut config = read("generation_config.json");
    for (name, value) in defaults {
        config[*name] = value.clone();
    }
    let config = serde_json::to_vec(&config).unwrap();
    let mut manifest = read("manifest.json");
    let record = &mut manifest["files"]["generation_config.json"];
    record["bytes"] = config.len().into();
    record["sha256"] = epitome_runtime::bundle::digest::bytes(&config).into();
    fs::write(copy.join("generation_config.json"), config).unwrap();
    fs::write(copy.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
}

#[test]
fn both_search_with_the_defaults_of_the_first_unless_told_otherwise() {
    let trained = bundle("pegasus-debian.tar.gz");
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    with_defaults(&trained, &other, &[("num_beams", 1.into()), ("max_length", 6.into())]);
    let run = |more: &[&str]| {
        let limit = ["--limit", "3", "--format", "json"];
        let arguments = [&limit[..], more].concat();
        let (found, told) = succeeds(&mut compare(&trained, &other, &held_out(), &arguments));
        let found: Value = serde_json::from_str(&found).expect("one JSON object");
        (found, told)
    };
    let (found, note) = run(&[]);
    assert_eq!(found["agreement"]["equal"], 1.0);
    assert_eq!(found["default_differences"][0]["name"], "max_length");
    assert!(note.contains("max_length 48 and 6, num_beams 8 and 1"), "{note}");
    assert!(note.contains("both search with those of A"), "{note}");
    let (found, note) = run(&["--own-defaults"]);
    assert!(found["agreement"]["equal"].as_f64().unwrap() < 1.0);
    assert!(note.contains("different defaults"), "{note}");
    // Parameters of the user apply to both.
    let (found, _) = run(&["--own-defaults", "--num-beams", "2", "--max-length", "20"]);
    assert_eq!(found["agreement"]["equal"], 1.0);
}

#[test]
fn documents_without_references_are_compared_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.csv");
    fs::write(&data, "text\nA window that shows the sensors of a computer.\n").unwrap();
    let bundle = bundle("tiny/pegasus-relu");
    let found = record(&bundle, &bundle, &data, &[]);
    assert_eq!(found.get("rouge"), None);
    assert_eq!((&found["documents"], &found["references"]), (&1.into(), &0.into()));
}

#[test]
fn what_cannot_be_compared_is_refused_in_one_sentence() {
    let path = bundle("tiny/pegasus-relu");
    let folder = tempfile::tempdir().unwrap();
    let nothing = folder.path().join("nothing");
    let refused = |mut command: Command, code: i32, words: &str| {
        let told = fails(&mut command, code, &[words]);
        assert_eq!(told.lines().count(), 1, "{told}");
    };
    refused(compare(&path, &nothing, &held_out(), &[]), 2, "nothing' does not exist");
    refused(compare(&path, &path, &nothing, &[]), 1, "nothing'");
    let data = folder.path().join("data.csv");
    fs::write(&data, "title,lines\na,b\n").unwrap();
    refused(compare(&path, &path, &data, &[]), 1, "has no column 'text'");
    let several = compare(&path, &path, &held_out(), &["--length-penalty", "0.5,1"]);
    refused(several, 2, "--length-penalty");
    let beams = compare(&path, &path, &held_out(), &["--num-beams", "0"]);
    refused(beams, 2, "num_beams");
}

/// After Ctrl-C the result is complete, or there is none.
#[cfg(unix)]
#[test]
fn ctrl_c_tells_what_was_compared() {
    use std::io::Read;
    use std::thread;
    use std::time::Duration;

    let model = bundle("tiny/pegasus-relu");
    let mut has_shown = false;
    for wait in (0..8).map(|doubled| 100 << doubled) {
        let mut child = compare(&model, &model, &held_out(), &["--format", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(wait));
        signal(child.id(), "INT");
        let mut shown = String::new();
        child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        let status = child.wait().unwrap();
        if shown.is_empty() {
            // The signal came before the first document was done, or before the program handled it.
            assert!(status.code().is_none_or(|code| code == 130), "{status} {told}");
        } else {
            assert_eq!(status.code(), Some(130), "{told}");
            let found: Value = serde_json::from_str(&shown).expect("one JSON object");
            assert_eq!(found["interrupted"], true);
            assert!(found["documents"].as_u64().unwrap() > 0);
            has_shown = true;
            assert_eq!(
                told.lines().last(),
                Some("epitome: stopped early; what was measured until then is kept")
            );
            break;
        }
    }
    assert!(has_shown, "nothing was compared in time");
}

#[test]
fn export_measures_what_a_precision_loses() {
    let target = tempfile::tempdir().unwrap();
    let output = target.path().join("bundle");
    let export = |more: &[&str]| {
        let mut command = epitome();
        command.arg("export").arg(fixture("tiny/pegasus-relu"));
        command.arg("--output").arg(&output).arg("--verify-data").arg(held_out()).args(more);
        command
    };
    let (table, _) = succeeds(&mut export(&["--precision", "int8", "--verify-limit", "3"]));
    for words in ["fp32)\nB: ", "int8)\n", "ROUGE-L", "Logits apart by", "3 documents"] {
        assert!(table.contains(words), "'{words}' is missing in:\n{table}");
    }
    // Only the bundle is left.
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 1);

    let told = fails(&mut export(&[]), 2, &["--verify-data", "--precision"]);
    assert_eq!(told.lines().count(), 1, "{told}");
}
