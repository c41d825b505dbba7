//! Temporary folders go with the process, however it ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::common::{epitome, fixture, signal, succeeds};

/// How many folders there are. ONNX Runtime keeps a file of its own beside them.
fn folders(temporary: &Path) -> usize {
    let entries = std::fs::read_dir(temporary).unwrap().map(Result::unwrap);
    entries.filter(|entry| entry.file_type().unwrap().is_dir()).count()
}

fn command(name: &str, temporary: &Path) -> Command {
    let mut command = epitome();
    command.env("TMPDIR", temporary).arg(name);
    command.arg("--model").arg(fixture("tiny/pegasus-relu"));
    command
}

/// A process that has exported its checkpoint, and waits for its input or requests.
fn waiting(name: &str, more: &[&str], temporary: &Path) -> (Child, ChildStdin) {
    let mut command = command(name, temporary);
    command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.as_mut().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("was exported for this run only")));
    assert_eq!(folders(temporary), 1);
    // Waiting for its end would close it.
    let input = child.stdin.take().unwrap();
    (child, input)
}

#[test]
fn a_signal_leaves_no_folder_behind() {
    for name in ["INT", "TERM"] {
        let temporary = tempfile::tempdir().unwrap();
        let (mut child, _input) = waiting("mcp", &[], temporary.path());
        signal(child.id(), name);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(folders(temporary.path()), 0, "after {name}");
    }
}

#[test]
fn a_page_ends_in_good_order() {
    let temporary = tempfile::tempdir().unwrap();
    let more = ["--no-browser", "--port", "0"];
    let (mut child, _input) = waiting("page", &more, temporary.path());
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("http://"), "{line}");
    signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(folders(temporary.path()), 0);
}

#[test]
fn what_a_killed_process_left_is_removed_by_the_next() {
    let temporary = tempfile::tempdir().unwrap();
    let (mut child, _input) = waiting("mcp", &[], temporary.path());
    signal(child.id(), "KILL");
    child.wait().unwrap();
    assert_eq!(folders(temporary.path()), 1);
    succeeds(command("summarize", temporary.path()).arg(fixture("articles/enigma.txt")));
    assert_eq!(folders(temporary.path()), 0);
}
