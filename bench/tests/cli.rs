//! The `epitome-bench` command: what it refuses, and what becomes of its output.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use epitome_bench::gate::baseline::{Baseline, LOOKS};
use epitome_bench::gate::look::Times;
use epitome_bench::gate::probe::Name;
use epitome_bench::history::{Entry, Value};
use epitome_bench::machine::{Build, Machine, Versions};
use tempfile::TempDir;

fn bench() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_epitome-bench"));
    command.stdin(Stdio::null());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with one entry of a history.
fn history() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let entry = Entry {
        name: "0.1.0".into(),
        commit: "0123456789abcdef".into(),
        note: String::new(),
        machine: Machine::this(),
        versions: Versions::default(),
        figures: vec![Value {
            name: "encoder".into(),
            unit: "ms".into(),
            value: 1.0,
        }],
    };
    entry.write(folder.path()).unwrap();
    folder
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = history();
    let page = folder.path().join("page.html");
    let mut child = bench()
        .args(["history", "--folder"])
        .arg(folder.path())
        .arg("--output")
        .arg(&page)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    assert!(fs::read_to_string(page).unwrap().contains("<svg"));
}

/// A baseline of counts that this program could have made.
fn baseline() -> Baseline {
    let times = Times {
        work: 1.0,
        load: 1.0,
    };
    Baseline {
        time: [(Name::SearchLoop, vec![times; LOOKS])].into(),
        instructions: [(Name::SearchLoop, 1)].into(),
        ..Baseline::empty()
    }
}

fn gate(path: &Path) -> Output {
    bench()
        .args(["gate", "--baseline"])
        .arg(path)
        .output()
        .unwrap()
}

#[test]
fn what_cannot_be_compared_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let other = Baseline {
        build: Build {
            rustc: "rustc 1.0.0".into(),
            opt_level: "none".into(),
        },
        ..baseline()
    };
    other.write(&path("other.json")).unwrap();
    let output = gate(&path("other.json"));
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("opt-level none"));
    assert!(stderr(&output).contains("make it again"));

    let old = Baseline {
        format: 1,
        ..baseline()
    };
    old.write(&path("old.json")).unwrap();
    let output = gate(&path("old.json"));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("another version of the gate"));

    let output = gate(&path("none.json"));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("none.json"));
}
