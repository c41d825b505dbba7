//! Tests of the command `epitome bench`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::common;
use serde_json::Value;
use tempfile::TempDir;

fn bundle() -> PathBuf {
    common::bundle("tiny/pegasus-relu")
}

/// Three documents, the last one without a reference.
const DATA: &str =
    "text,summary\nthe cat sat on the mat,cat sat\n\"a dog, barking\",dog\nbirds fly,\n";

/// A folder with documents, and with space for reports.
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
        let mut command = common::epitome();
        command
            .arg("bench")
            .arg("--model")
            .arg(bundle())
            .arg("--data")
            .arg(self.path("data.csv"))
            .arg("--output")
            .arg(self.path("report"));
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
    // Greedy search, and two penalties with two stopping rules.
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
        let mut child = work
            .bench()
            .args(["--repeats", "1000000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(patience);
        common::signal(child.id(), "INT");
        let mut waits = 0..600;
        while child.try_wait().unwrap().is_none() && waits.next().is_some() {
            std::thread::sleep(Duration::from_millis(50));
        }
        // A job in the background ignores Ctrl-C until the program handles it, so the signal came
        // too early.
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        let said = stderr(&output);
        // The signal may come while the model is loaded, or before the first result.
        let early = said.is_empty() || said.contains("stopped before anything was measured");
        if output.status.code().is_none() || early {
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
    refused(&["--tolerance", "5"], 2, "--against");
    let nothing = work.path("nothing");
    let nothing = nothing.to_str().unwrap();
    refused(&["--against-model", nothing], 2, "nothing");
    refused(&["--against-model", nothing, "--tolerance", "0"], 2, "--tolerance");
    refused(&["--against", nothing], 1, "nothing'");
    refused(&["--against", work.path("data.csv").to_str().unwrap()], 1, "is no results.json");
    refused(&["--text-column", "body"], 1, "has no column 'body'");
    fs::write(work.path("data.csv"), "title\nx\n").unwrap();
    refused(&[], 1, "has no column 'text'");
    fs::remove_file(work.path("data.csv")).unwrap();
    refused(&[], 1, "data.csv");
}

#[test]
fn a_budget_that_nothing_meets_is_exit_code_3() {
    let work = Work::new();
    let output = work.bench().args(["--num-beams", "1", "--budget-ms", "0.0001"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.lines().last().unwrap().contains("no setting is fast enough"), "{said}");
    assert!(work.path("report/report.html").is_file());
}

#[test]
fn results_say_where_they_come_from_and_samples_hold_the_summaries() {
    let work = Work::new();
    fs::write(work.path("data.csv"), "id,article,highlights\n1,the cat sat,cat sat\n").unwrap();
    let output = work.bench().args(["--num-beams", "1"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let results = work.results();
    let origin = &results["origin"];
    assert!(origin["date"].as_str().unwrap().ends_with('Z'));
    assert!(origin["command"].as_str().unwrap().starts_with("epitome bench --model "));
    for digest in [&results["model"]["digest"], &results["data"]["digest"]] {
        assert!(digest.as_str().unwrap().starts_with("sha256:"), "{digest}");
    }
    assert_eq!(results["data"]["references"], 1);
    assert!(results["load_ms"].as_f64().unwrap() > 0.0);
    let summary = results["examples"][0]["summary"].as_str().unwrap();
    let samples = fs::read_to_string(work.path("report/samples.csv")).unwrap();
    assert!(samples.lines().next().unwrap().ends_with(",rougeL,summary"), "{samples}");
    assert!(samples.contains(&summary.replace('"', "\"\"")), "{samples}");
    // The page has its command, and warns about a single document.
    let page = fs::read_to_string(work.path("report/report.html")).unwrap();
    assert!(page.contains("<code>epitome bench --model ") && page.contains("Only 1 of the"));
}

/// The result depends on the machine. The test checks that it is one of three, with its exit code
/// and sentence.
#[test]
fn an_old_model_is_met_in_turn() {
    let work = Work::new();
    let old = bundle();
    let bench = |more: &[&str]| {
        let mut command = work.bench();
        command.arg("--against-model").arg(&old).args(["--tolerance", "50"]).args(more);
        command.output().unwrap()
    };
    let output =
        bench(&["--num-beams", "1,2", "--length-penalty", "1", "--early-stopping", "true"]);
    let said = stderr(&output);
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 3 | 4)), "{code:?}: {said}");
    let text = fs::read(work.path("report/regression.json")).unwrap();
    let regression: Value = serde_json::from_slice(&text).unwrap();
    let outcome = [(0, "kept"), (3, "worse"), (4, "unclear")];
    assert!(outcome.contains(&(code.unwrap(), regression["outcome"].as_str().unwrap())), "{said}");
    // A model and itself make the same summaries.
    assert_eq!(regression["different"], 0.0);
    assert_eq!(regression["quality"]["outcome"], "kept");
    assert!(regression["method"]["interleaved"]["rounds"].as_u64().unwrap() >= 10);
    assert_eq!(regression["old"]["points"].as_array().unwrap().len(), 2);
    let verdict = regression["verdict"].as_str().unwrap();
    let shown = if code == Some(0) { String::from_utf8(output.stdout).unwrap() } else { said };
    assert!(shown.contains(verdict), "'{verdict}' is missing in: {shown}");
    let page = fs::read_to_string(work.path("report/report.html")).unwrap();
    assert!(page.contains("Old and new") && page.contains("old, median"));
}

#[test]
fn earlier_results_are_compared_as_far_as_that_can_be_honest() {
    let work = Work::new();
    let settings = ["--num-beams", "2", "--length-penalty", "1"];
    let first = work.bench().args(settings).output().unwrap();
    assert!(first.status.success(), "{}", stderr(&first));
    let kept = work.path("old.json");
    fs::copy(work.path("report/results.json"), &kept).unwrap();
    let again = |path: &Path, more: &[&str]| {
        work.bench().arg("--against").arg(path).args(more).output().unwrap()
    };
    // Times of another machine are not compared. The settings are those of the file.
    let mut results = work.results();
    results["machine"]["cpu"] = "another".into();
    fs::write(&kept, serde_json::to_vec(&results).unwrap()).unwrap();
    let output = again(&kept, &[]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.lines().last().unwrap().contains("the processor was 'another'"), "{said}");
    assert_eq!(work.results()["points"].as_array().unwrap().len(), 3);
    // Summaries that lost everything are worse on any machine.
    for document in results["by_document"].as_array_mut().unwrap() {
        document["rougeL"] = 1.0.into();
    }
    fs::write(&kept, serde_json::to_vec(&results).unwrap()).unwrap();
    let output = again(&kept, &[]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("Worse: ROUGE-L"), "{}", stderr(&output));
    let output = again(&kept, &["--num-beams", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    // Other documents cannot be compared.
    let output = again(&kept, &["--limit", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("of other documents"), "{}", stderr(&output));
}

#[test]
fn results_over_time_are_drawn_on_one_page() {
    let work = Work::new();
    let history = work.path("history");
    let output =
        work.bench().args(["--num-beams", "1", "--history"]).arg(&history).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let page = history.join("history.html");
    let first = fs::read_to_string(&page).unwrap();
    assert!(first.contains("<svg") && first.contains("1 run, "), "{first}");
    fs::remove_file(&page).unwrap();
    let draw = |folder: &Path| {
        let mut command = common::epitome();
        command.args(["bench", "--history"]).arg(folder).output().unwrap()
    };
    let output = draw(&history);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&page).unwrap(), first);
    let empty = tempfile::tempdir().unwrap();
    let output = draw(empty.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("holds no results.json"), "{}", stderr(&output));
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
