//! What the tests share: the fixtures, bundles made from them, and the binary.

pub(crate) mod golden;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use epitome_export::{ExportOptions, export};
use epitome_runtime::bundle::Precision;
use epitome_runtime::generation::GlobalAttentionMask;
use tempfile::TempDir;

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

/// A bundle made from a source, verified on the way.
pub(crate) struct Exported {
    folder: TempDir,
}

impl Exported {
    /// Exports a source below `fixtures/`.
    pub(crate) fn of(source: impl AsRef<Path>) -> Self {
        Self::attempt(source).expect("an export")
    }

    /// The same, where it may fail. As in transformers, no token has global attention unless a
    /// mask says so.
    pub(crate) fn attempt(source: impl AsRef<Path>) -> Result<Self, epitome_export::Error> {
        Self::with_precision(source, Precision::Fp32)
    }

    /// The same, with weights of a precision.
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

    /// The same, in a way of one's own.
    pub(crate) fn attempt_with(
        source: impl AsRef<Path>,
        options: &ExportOptions<'_>,
    ) -> Result<Self, epitome_export::Error> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        export(&fixture(source), &folder.path().join("bundle"), options)?;
        Ok(Self { folder })
    }

    /// The bundle's folder.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("bundle")
    }
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

/// The real binary.
pub(crate) fn epitome() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_epitome"));
    command.stdin(Stdio::null());
    command
}

/// Its exit code and what it printed.
pub(crate) fn run(command: &mut Command) -> Output {
    command.output().expect("the binary starts")
}

/// What it printed.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The command succeeds: what it printed on standard output and standard error.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> (String, String) {
    let output = run(command);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    (text(&output.stdout), stderr)
}

/// The command fails with this exit code, prints nothing on standard output, and ends with one line
/// on standard error that holds all of these.
#[track_caller]
pub(crate) fn fails(command: &mut Command, code: i32, words: &[&str]) {
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
}
