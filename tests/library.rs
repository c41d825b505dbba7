//! Tests that find ONNX Runtime. Nothing is run or loaded that others may have put there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{epitome, fails, fixture, run};
use epitome_runtime::library::{OnnxRuntime, platform};
use tempfile::TempDir;

/// A cache with the library of this machine, and the library's path.
fn cache() -> (TempDir, PathBuf) {
    let wheel = platform::current().expect("a wheel for this platform");
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join(format!("onnxruntime-{}", wheel.version));
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let library = folder.join(wheel.library);
    let loaded = OnnxRuntime::load().expect("a library for the tests");
    fs::copy(loaded.path(), &library).unwrap();
    fs::set_permissions(&library, fs::Permissions::from_mode(0o644)).unwrap();
    (cache, library)
}

/// An export of a small checkpoint, which needs the library.
fn export(cache: &Path) -> Command {
    let mut command = epitome();
    command.env_remove("ORT_DYLIB_PATH");
    command.env("EPITOME_CACHE", cache);
    command.arg("export").arg(fixture("tiny/pegasus-relu"));
    command.arg("--output").arg(cache.join("bundle"));
    command
}

#[test]
fn a_cached_library_of_the_right_size_and_another_content_is_refused() {
    let (cache, library) = cache();
    // The second time, the digest is known to be unchanged.
    for _ in 0..2 {
        assert!(run(&mut export(cache.path())).status.success());
    }
    let mut bytes = fs::read(&library).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&library, bytes).unwrap();
    fails(&mut export(cache.path()), 1, &["not the pinned file"]);
}

#[test]
fn a_library_that_others_may_write_is_refused() {
    let (cache, library) = cache();
    let folder = library.parent().unwrap();
    for place in [library.as_path(), folder, cache.path()] {
        let before = fs::metadata(place).unwrap().permissions();
        fs::set_permissions(place, fs::Permissions::from_mode(0o777)).unwrap();
        fails(&mut export(cache.path()), 1, &["may be written by others", "chmod go-w"]);
        fs::set_permissions(place, before).unwrap();
    }
    assert!(run(&mut export(cache.path())).status.success());
}

#[test]
fn without_a_home_nothing_is_kept_in_the_temporary_folder() {
    let shared = tempfile::tempdir().unwrap();
    let mut command = export(shared.path());
    for name in ["EPITOME_CACHE", "HOME", "XDG_CACHE_HOME"] {
        command.env_remove(name);
    }
    command.env("TMPDIR", shared.path());
    fails(&mut command, 1, &["HOME", "EPITOME_CACHE", "ORT_DYLIB_PATH"]);
    assert!(!shared.path().join("epitome").exists());
}

/// pip may not find the wheel here. The test checks that it is the pip of the machine.
#[test]
fn no_code_from_the_current_folder_runs() {
    let cache = tempfile::tempdir().unwrap();
    let documents = tempfile::tempdir().unwrap();
    let ran = documents.path().join("ran");
    let trap = format!("open({:?}, 'w')\nraise SystemExit(1)\n", ran.to_str().unwrap());
    for name in ["pip.py", "pip3", "pip", "encodings.py", "zipfile.py", "json.py"] {
        fs::write(documents.path().join(name), &trap).unwrap();
    }
    let mut command = export(cache.path());
    command.current_dir(documents.path());
    command.env("PYTHONPATH", documents.path());
    command.env("PIP_NO_INDEX", "1");
    command.env("PIP_CONFIG_FILE", "/dev/null");
    command.env_remove("PIP_FIND_LINKS");
    run(&mut command);
    assert!(!ran.exists(), "a file beside the documents was run");
}
