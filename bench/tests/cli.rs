//! Tests of wrong calls of the `epitome-bench` command.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn gate(path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_epitome-bench"))
        .args(["gate", "--baseline"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_baseline_that_cannot_be_compared_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.json");
    let stored = fs::read_to_string(stored).unwrap();
    let other_compiler = stored.replace("rustc 1.", "rustc 0.");
    assert_ne!(stored, other_compiler);
    for (name, text, problem) in [
        ("other.json", Some(other_compiler.as_str()), "make it again"),
        ("broken.json", Some("{}"), "is not a baseline"),
        ("none.json", None, "none.json"),
    ] {
        let path = folder.path().join(name);
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let output = gate(&path);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(problem), "{stderr}");
    }
}
