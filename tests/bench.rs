//! `epitome bench` as a user meets it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use common::Exported;
use serde_json::Value;
use tempfile::TempDir;

/// A bundle that no test changes.
fn bundle() -> PathBuf {
    static BUNDLE: OnceLock<Exported> = OnceLock::new();
    BUNDLE.get_or_init(|| Exported::of("tiny/pegasus-relu")).path()
}

/// Three documents, the last one without a reference.
const DATA: &str =
    "text,summary\nthe cat sat on the mat,cat sat\n\"a dog, barking\",dog\nbirds fly,\n";

/// A folder with documents, where reports may go too.
struct Work(TempDir);

impl Work {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("data.csv"), DATA).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The command on these documents.
    fn bench(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_epitome"));
        command
            .arg("bench")
            .arg("--model")
            .arg(bundle())
            .arg("--data")
            .arg(self.path("data.csv"))
            .arg("--output")
            .arg(self.path("report"))
            .stdin(Stdio::null());
        command
    }

    fn results(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("report/results.json")).unwrap()).unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn a_sweep_leaves_a_table_and_a_report() {
    let work = Work::new();
    let output = work
        .bench()
        .args(["--num-beams", "1,2", "--length-penalty", "-1,2"])
        .args(["--early-stopping", "true,never", "--budget-ms", "60000"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    // Greedy search, and two penalties under two rules.
    let points = 5;
    assert_eq!(work.results()["points"].as_array().unwrap().len(), points, "{table}");
    assert_eq!(work.results()["interrupted"], false);
    assert!(table.contains("picked for the budget"), "{table}");
    assert_eq!(lines(&work.path("report/settings.csv")), 1 + points);
    assert_eq!(lines(&work.path("report/samples.csv")), 1 + 3 * points);
    let page = fs::read_to_string(work.path("report/report.html")).unwrap();
    assert!(page.contains("<svg"));
    for outside in ["<script", "src=", "@import", "<link"] {
        assert!(!page.contains(outside), "the page needs something else: {outside}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_was_measured() {
    let work = Work::new();
    let mut patience = Duration::from_millis(100);
    loop {
        let child = work
            .bench()
            .args(["--repeats", "1000000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(patience);
        let id = child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(sent.success());
        let output = child.wait_with_output().unwrap();
        let said = stderr(&output);
        // It may have come before the first summary, or before there was anything to keep.
        if output.status.code().is_none() || said.contains("stopped before anything was measured") {
            assert!(!work.path("report").exists(), "{said}");
            patience *= 2;
            assert!(patience < Duration::from_secs(120), "{said}");
            continue;
        }
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.contains("what was measured until then is kept"), "{said}");
        break;
    }
    let results = work.results();
    assert_eq!(results["interrupted"], true);
    let points = results["points"].as_array().unwrap();
    let samples: u64 = points.iter().map(|p| p["samples"].as_u64().unwrap()).sum();
    assert!(samples > 0);
    assert_eq!(lines(&work.path("report/samples.csv")) as u64, 1 + samples);
    let page = fs::read_to_string(work.path("report/report.html")).unwrap();
    assert!(page.contains("<svg"));
}

#[test]
fn bad_calls_are_refused_in_one_sentence() {
    let work = Work::new();
    let refused = |arguments: &[&str], code: i32, word: &str| {
        let output = work.bench().args(arguments).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(word) && !said.contains("panicked"), "{said}");
        assert!(!work.path("report").exists(), "{said}");
    };
    refused(&["--budget-ms", "0"], 2, "must be above 0");
    refused(&["--budget-ms", "nan"], 2, "must be above 0");
    refused(&["--early-stopping", "sometimes"], 2, "true, false or never");
    refused(&["--num-beams", "0"], 2, "num_beams");
    refused(&["--length-penalty", "nan"], 2, "length_penalty");
    refused(&["--limit", "0"], 2, "--limit");
    fs::write(work.path("data.csv"), "title\nx\n").unwrap();
    refused(&[], 1, "has no column 'text'");
    fs::remove_file(work.path("data.csv")).unwrap();
    refused(&[], 1, "data.csv");
}

#[cfg(unix)]
#[test]
fn whoever_closes_the_pipe_still_gets_the_report() {
    let work = Work::new();
    let mut child = work
        .bench()
        .args(["--num-beams", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(work.path("report/report.html").is_file());
}
