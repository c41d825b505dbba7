//! Fetches the pinned wheel once, with the pip of the machine. pip knows the machine's mirror,
//! proxy and certificates.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cache;
use super::error::LibraryError;
use super::platform::Wheel;
use crate::bundle::digest;
use crate::scratch;

/// Commands that run pip, in the order in which they are tried. With `-I`, Python does not import
/// from the current folder or from the folders of its environment variables. These may have
/// untrusted files, such as a `pip.py`.
const PIPS: &[&[&str]] = &[
    &["python3", "-I", "-m", "pip"],
    &["python", "-I", "-m", "pip"],
    &["py", "-I", "-m", "pip"],
    &["pip3"],
    &["pip"],
];

/// Fetches the wheel and moves its library to `folder` atomically.
pub(super) fn fetch(wheel: &Wheel, folder: &Path) -> Result<(), LibraryError> {
    let stored = |error: io::Error| LibraryError::Store {
        folder: folder.into(),
        problem: error.to_string(),
    };
    cache::create(folder).map_err(stored)?;
    let scratch = scratch::Folder::new_in(folder, ".fetch-").map_err(stored)?;
    eprintln!("Fetching ONNX Runtime {} (once, about 23 MB) ...", wheel.version);
    download(wheel, scratch.path())?;
    let file = downloaded(scratch.path()).ok_or_else(|| LibraryError::Fetch {
        version: wheel.version.into(),
        problem: "pip left no wheel behind".into(),
    })?;
    let found = digest::file(&file).map_err(stored)?;
    if found != wheel.sha256 {
        return Err(LibraryError::WheelDigest { found, expected: wheel.sha256.into() });
    }
    let unpacked = scratch.path().join(wheel.library);
    unpack(&file, wheel.library, &unpacked).map_err(stored)?;
    fs::rename(&unpacked, folder.join(wheel.library)).map_err(stored)
}

/// Downloads the wheel to `folder` with pip. pip also runs in `folder`, which is new and private.
fn download(wheel: &Wheel, folder: &Path) -> Result<(), LibraryError> {
    let failed = |problem: String| LibraryError::Fetch { version: wheel.version.into(), problem };
    let package = format!("onnxruntime=={}", wheel.version);
    #[rustfmt::skip]
    let arguments = [
        "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:",
        "--implementation=cp", "--python-version=3.12", "--abi=cp312", "--platform", wheel.tag,
        &package, "--dest",
    ];
    let arguments: Vec<&OsStr> =
        arguments.iter().map(OsStr::new).chain([folder.as_os_str()]).collect();
    let mut problem = "no python3 with pip was found".to_owned();
    for pip in PIPS {
        let mut command = Command::new(pip[0]);
        command
            .args(&pip[1..])
            .args(&arguments)
            .current_dir(folder)
            .env_remove("PYTHONPATH")
            .stdin(Stdio::null());
        match command.output() {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                let line = text.lines().rev().find(|line| !line.trim().is_empty());
                problem = format!("{}: {}", pip.join(" "), line.unwrap_or("failed").trim());
            }
            Err(_) => {}
        }
    }
    Err(failed(problem))
}

fn downloaded(folder: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    entries.find(|path| path.extension() == Some(OsStr::new("whl")))
}

fn unpack(wheel: &Path, library: &str, target: &Path) -> io::Result<()> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?).map_err(io::Error::other)?;
    let name = format!("onnxruntime/capi/{library}");
    let mut entry = archive.by_name(&name).map_err(io::Error::other)?;
    let mut options = File::options();
    options.write(true).create_new(true);
    // The mode does not depend on the umask: a library that others can write would be refused.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
    let mut file = options.open(target)?;
    io::copy(&mut entry, &mut file)?;
    file.sync_all()
}
