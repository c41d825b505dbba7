//! Tests of hostile files. Each is read, or refused with an error that names it, within the limits
//! of its child process. This process stays small.

mod markup;
mod pdf;
mod zip;

use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use epitome_documents::isolated::{Extractor, Limits};
use epitome_documents::{Document, ErrorKind};

/// Limits of the children: the defaults, except for the time, which some files use up.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.seconds = 4;
    limits
}

/// A permit to read a bomb. Two are read at a time, so that a small machine has the memory for
/// them.
struct Place;

/// Number of free permits.
static FREE: Mutex<usize> = Mutex::new(2);
/// Notified when a permit is free.
static FREED: Condvar = Condvar::new();

impl Place {
    fn wait() -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let free = FREED.wait_while(free, |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        FREED.notify_one();
    }
}

/// Reads bytes, and checks the name in an error.
fn read(name: &str, bytes: &[u8]) -> Result<Vec<Document>, ErrorKind> {
    let _place = Place::wait();
    let extractor = Extractor::new(env!("CARGO_BIN_EXE_extract"), vec!["extract-document".into()]);
    let start = Instant::now();
    let read = extractor.with_limits(limits()).read(bytes, Some(name));
    // The time limit, plus a margin for a busy machine.
    assert!(start.elapsed() < Duration::from_secs(limits().seconds + 30), "{name}");
    if let Some(peak) = peak_memory() {
        assert!(peak < 200 << 10, "{name}: this process had {peak} KiB");
    }
    read.map_err(|error| {
        assert!(error.to_string().starts_with(&format!("'{name}'")), "{error}");
        assert!(error.to_string().len() < 1000, "{error}");
        error.kind
    })
}

fn text(name: &str, bytes: &[u8]) -> String {
    read(name, bytes).unwrap()[0].text()
}

/// Checks that a file was refused: it is damaged or over a limit, or its reader ended.
#[track_caller]
fn assert_refused(name: &str, bytes: &[u8]) {
    let kind = read(name, bytes).unwrap_err();
    let is_clear = matches!(
        kind,
        ErrorKind::Damaged { .. }
            | ErrorKind::TooLarge { .. }
            | ErrorKind::OutOfMemory(_)
            | ErrorKind::OutOfTime(_)
            | ErrorKind::Crashed(_)
            | ErrorKind::Scanned
            | ErrorKind::NoText(_)
    );
    assert!(is_clear, "{name}: {kind:?}");
}

/// Peak resident memory of this process in KiB, if the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Compressed bytes that decompress to many times `byte`, from a repeated block.
fn deflated(byte: u8, mebibytes: usize, is_zlib: bool) -> Vec<u8> {
    let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
    let mut block = Vec::with_capacity(1 << 16);
    let piece = vec![byte; 1 << 20];
    compress.compress_vec(&piece, &mut block, flate2::FlushCompress::Full).unwrap();
    let mut out = if is_zlib { vec![0x78, 0xda] } else { Vec::new() };
    out.extend(block.repeat(mebibytes));
    // The last block is empty.
    out.extend([3, 0]);
    out
}

#[test]
fn a_child_that_allocates_without_end_is_told() {
    // The memory limit works even for a small file.
    let mut limits = limits();
    limits.memory = 1 << 20;
    let extractor = Extractor::new(env!("CARGO_BIN_EXE_extract"), vec!["extract-document".into()]);
    let page = format!("<html><p>{}</p></html>", "word ".repeat(100_000));
    let error = extractor.with_limits(limits).read(page.as_bytes(), Some("page.html"));
    if cfg!(target_os = "linux") {
        assert!(error.is_err());
    }
}

#[test]
fn a_child_that_takes_too_long_is_ended() {
    let mut limits = limits();
    limits.seconds = 1;
    let extractor = Extractor::new("/bin/sleep", vec![]);
    let start = Instant::now();
    // The program takes the request for a number, fails, and answers nothing.
    let failed =
        extractor.clone().with_limits(limits).read(b"%PDF-1.4", Some("a.pdf")).unwrap_err();
    assert!(matches!(failed.kind, ErrorKind::Crashed(_)), "{failed}");
    let script = "exec sleep 100";
    let slow = Extractor::new("/bin/sh", vec!["-c".into(), script.into()]).with_limits(limits);
    let error = slow.read(b"%PDF-1.4", Some("a.pdf")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfTime(1));
    assert!(start.elapsed() < Duration::from_secs(50));
}

#[test]
fn a_child_that_answers_without_end_is_ended() {
    let endless = Extractor::new("/bin/sh", vec!["-c".into(), "exec cat /dev/zero".into()]);
    let error = endless.with_limits(limits()).read(b"%PDF-1.4", Some("a.pdf")).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::TooLarge { .. }), "{error}");
    assert!(peak_memory().is_none_or(|peak| peak < 200 << 10));
}

/// A child reads its standard input to the end. When its parent is killed, it ends although the
/// pipe stays open.
#[cfg(target_os = "linux")]
#[test]
fn a_child_ends_with_its_parent() {
    let request = r#"{"name":null,
        "options":{"text_column":null,"max_text":1000,"max_unpacked":1000},
        "limits":{"memory":1000000000,"seconds":100,"file":1000}}"#;
    let script = r#"sleep 100 | "$0" extract-document "$1" & echo $!; wait"#;
    let mut parent = Command::new("/bin/sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_extract"), request])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = parent.stdout.as_mut().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    let child = format!("/proc/{}", line.trim());
    let deadline = Instant::now() + Duration::from_secs(30);
    // The child has set up the signal once it waits for its input.
    let has_begun = || {
        let exe = std::fs::read_link(format!("{child}/exe"));
        exe.is_ok_and(|exe| exe.ends_with("extract"))
    };
    while !has_begun() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    parent.kill().unwrap();
    parent.wait().unwrap();
    let is_there = || std::fs::read_link(format!("{child}/exe")).is_ok();
    while is_there() {
        assert!(Instant::now() < deadline, "the child outlived its parent");
        std::thread::sleep(Duration::from_millis(10));
    }
}
