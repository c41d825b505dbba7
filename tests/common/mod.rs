//! Shared parts of the tests: fixtures, bundles made from them, and the binary.

mod bundles;
pub(crate) mod golden;

pub(crate) use bundles::{bundle, bundle_in, summarizer, with_threads};

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use epitome_export::{ExportOptions, export};
use epitome_runtime::bundle::Precision;
use epitome_runtime::generation::GlobalAttentionMask;
use epitome_runtime::scratch;

/// A path below `fixtures/`.
pub(crate) fn fixture(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

/// Names of the tiny checkpoints of an architecture, or of all for an empty prefix.
pub(crate) fn tiny_checkpoints(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(fixture("tiny")).expect("fixtures/tiny");
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no tiny checkpoint starts with {prefix}");
    names
}

/// A bundle for one test, exported from a source with verification.
pub(crate) struct Exported {
    path: PathBuf,
    _folder: scratch::Folder,
}

impl Exported {
    /// Exports a source below `fixtures/`.
    pub(crate) fn of(source: impl AsRef<Path>) -> Self {
        Self::attempt(source).expect("an export")
    }

    /// Exports a source that may fail. As in transformers, no token has global attention unless a
    /// mask says so.
    pub(crate) fn attempt(source: impl AsRef<Path>) -> Result<Self, epitome_export::Error> {
        Self::with_precision(source, Precision::Fp32)
    }

    /// Exports a source with the given precision.
    pub(crate) fn with_precision(
        source: impl AsRef<Path>,
        precision: Precision,
    ) -> Result<Self, epitome_export::Error> {
        let none = GlobalAttentionMask::none();
        let options = ExportOptions {
            precision,
            global_attention_mask: Some(&none),
            ..ExportOptions::default()
        };
        Self::attempt_with(source, &options)
    }

    /// Exports a source with the given options.
    pub(crate) fn attempt_with(
        source: impl AsRef<Path>,
        options: &ExportOptions<'_>,
    ) -> Result<Self, epitome_export::Error> {
        let folder = scratch::Folder::new("epitome-test-").expect("a temporary folder");
        let path = folder.path().join("bundle");
        export(&fixture(source), &path, options)?;
        Ok(Self { path, _folder: folder })
    }

    /// Folder of the bundle.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for Exported {
    fn as_ref(&self) -> &Path {
        self.path()
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &process.to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

/// Terminates a process after some time. Returns its output and its exit status.
#[cfg(unix)]
pub(crate) fn terminated_after(command: &mut Command, time: std::time::Duration) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    std::thread::sleep(time);
    signal(child.id(), "TERM");
    child.wait_with_output().unwrap()
}

/// The lines of a golden file: its header, and its cases.
pub(crate) fn golden_lines(name: &str) -> (serde_json::Value, Vec<serde_json::Value>) {
    let path = fixture("goldens").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut lines = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    let header = lines.next().expect("a header");
    let cases: Vec<_> = lines.collect();
    assert!(!cases.is_empty(), "{name} has no cases");
    (header, cases)
}

/// Environment variable with the number of threads of a model.
pub(crate) const THREADS: &str = "EPITOME_THREADS";

/// The real binary. Its models have one thread, because tests run in parallel.
pub(crate) fn epitome() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_epitome"));
    command.stdin(Stdio::null()).env(THREADS, "1");
    command
}

/// Runs a command. Returns its exit status and its output.
pub(crate) fn run(command: &mut Command) -> Output {
    command.output().expect("the binary starts")
}

/// The output as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Checks that the command succeeds. Returns its standard output and standard error.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> (String, String) {
    let output = run(command);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    (text(&output.stdout), stderr)
}

/// Checks that the command fails with this exit code, has an empty standard output, and ends with
/// one line on standard error that contains all of these words. Returns the standard error.
#[track_caller]
pub(crate) fn fails(command: &mut Command, code: i32, words: &[&str]) -> String {
    let output = run(command);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(text(&output.stdout), "", "nothing on standard output");
    let line = stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("epitome: "), "{stderr}");
    for word in words {
        assert!(line.contains(word), "'{word}' is missing in: {line}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}
