//! Tests of files that are truncated, changed and repaired, and of killed processes.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::TEXT;
use super::client::{self, Server, own_bundle};
use crate::common;

/// A truncated mapped file kills the process that reads it, whatever its error handling.
#[cfg(unix)]
#[test]
fn a_model_file_that_is_cut_is_survived_under_supervision() {
    let exported = own_bundle();
    let weights = exported.path().join("weights.bin");
    let whole = fs::read(&weights).unwrap();
    let mut server = Server::start(exported.path(), &[("EPITOME_SUPERVISE", "true")]);
    assert_eq!(server.invoke(&json!({"inputs": TEXT})).status, 200);
    let file = fs::File::options().write(true).open(&weights).unwrap();
    file.set_len(100).unwrap();
    // The server may be killed, or continue with what it has read. In that case the test kills it.
    let body = json!({"inputs": TEXT}).to_string();
    let killed = client::post(server.address, "/invocations", body.as_bytes()).is_err();
    if !killed {
        server.kill_child();
    }
    client::until(|| server.get("/ping").text().contains("bytes where the manifest says"));
    assert_eq!(server.invoke(&json!({"inputs": TEXT})).status, 503);
    // It is loaded again once the file is complete.
    fs::write(&weights, whole).unwrap();
    client::until(|| server.get("/ping").status == 200);
    assert_eq!(server.invoke(&json!({"inputs": TEXT})).status, 200);
    server.terminate();
    assert!(server.wait(Duration::from_secs(30)).success());
}

#[cfg(unix)]
#[test]
fn requests_wait_during_a_restart_and_nothing_is_left_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let environment =
        [("EPITOME_SUPERVISE", "true"), ("TMPDIR", temporary.path().to_str().unwrap())];
    let checkpoint = common::fixture("tiny/pegasus-relu");
    let mut server = Server::start(&checkpoint, &environment);
    // ONNX Runtime has its own file in the temporary folder.
    let folders = || {
        let entries = fs::read_dir(temporary.path()).unwrap().map(Result::unwrap);
        entries.filter(|entry| entry.file_type().unwrap().is_dir()).count()
    };
    assert_eq!(folders(), 1, "the exported checkpoint");
    for _ in 0..2 {
        server.kill_child();
        let answer = server.invoke(&json!({"inputs": TEXT}));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    client::until(|| folders() == 1);
    server.terminate();
    assert!(server.wait(Duration::from_secs(30)).success());
    assert_eq!(folders(), 0);
}

#[test]
fn a_load_that_failed_is_said_once_and_tried_again_when_files_change() {
    let exported = own_bundle();
    let tokenizer = exported.path().join("tokenizer.json");
    let whole = fs::read(&tokenizer).unwrap();
    fs::write(&tokenizer, &whole[1..]).unwrap();
    let server = Server::start_any(exported.path(), &[]);
    client::until(|| server.get("/ping").text().contains("tokenizer.json"));
    std::thread::sleep(Duration::from_millis(1500));
    // Renames the file, so that no part of it is seen.
    let written = exported.path().with_extension("whole");
    fs::write(&written, whole).unwrap();
    fs::rename(&written, &tokenizer).unwrap();
    client::until(|| server.get("/ping").status == 200);
    assert_eq!(server.invoke(&json!({"inputs": TEXT})).status, 200);
    let log = server.stop();
    let said = log.lines().filter(|line| line.contains("cannot be used")).count();
    assert_eq!(said, 1, "{log}");
}

fn flip_a_byte(file: &Path) {
    let mut byte = fs::read(file).unwrap();
    let middle = byte.len() / 2;
    let mut file = fs::File::options().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(middle as u64)).unwrap();
    byte[middle] ^= 1;
    file.write_all(&byte[middle..=middle]).unwrap();
}

#[test]
fn a_changed_bundle_is_told_by_ping() {
    let exported = own_bundle();
    flip_a_byte(&exported.path().join("weights.bin"));
    for check in ["first", "background"] {
        let server = Server::start_any(exported.path(), &[("EPITOME_CHECK", check)]);
        client::until(|| server.get("/ping").text().contains("weights.bin"));
        assert_eq!(server.get("/ping").status, 503);
        assert_eq!(server.invoke(&json!({"inputs": TEXT})).status, 503);
    }
    let server = Server::start(exported.path(), &[("EPITOME_CHECK", "never")]);
    assert_eq!(server.invoke(&json!({"inputs": TEXT})).status, 200);
}
