//! The cache folder of a fetched library, and the checks of its contents.
//!
//! A library runs with all rights of the process. So only this user or root may have write access
//! to the file and its folders, and the file must have the pinned digest. The digest is computed
//! again if device, inode, size or modification time of the file have changed since the last check.

use std::env;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::error::LibraryError;
use super::platform::Wheel;
use crate::bundle::digest;

/// Environment variable that names the cache folder.
const VARIABLE: &str = "EPITOME_CACHE";
/// File with the identity of the library that was checked last.
const CHECKED: &str = "checked";

/// The folder of the library of this wheel.
///
/// # Errors
///
/// [`LibraryError::NoCache`] if the user has no cache folder. The shared temporary folder is not
/// used, since others could write there.
pub(super) fn folder(wheel: &Wheel) -> Result<PathBuf, LibraryError> {
    let given = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let absolute = |name: &str| given(name).filter(|folder| folder.is_absolute());
    let root = given(VARIABLE).or_else(|| match env::consts::OS {
        "windows" => absolute("LOCALAPPDATA").map(|folder| folder.join("epitome")),
        "macos" => absolute("HOME").map(|home| home.join("Library/Caches/epitome")),
        _ => absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .map(|folder| folder.join("epitome")),
    });
    let root = root.ok_or(LibraryError::NoCache)?;
    let root = std::path::absolute(&root)
        .map_err(|error| LibraryError::Store { folder: root, problem: error.to_string() })?;
    Ok(root.join(format!("onnxruntime-{}", wheel.version)))
}

/// Creates the folder and its parents, with access for this user only.
#[cfg(feature = "fetch")]
pub(super) fn create(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Checks a library in the cache before it is loaded.
pub(super) fn check(path: &Path, wheel: &Wheel) -> Result<(), LibraryError> {
    let unreadable = |error: io::Error| broken(path, &error.to_string());
    let folder = path.parent().unwrap_or(path);
    for checked in [path, folder, folder.parent().unwrap_or(folder)] {
        let metadata = fs::metadata(checked).map_err(unreadable)?;
        if let Some(problem) = others_may_write(&metadata) {
            return Err(LibraryError::Untrusted { path: checked.into(), problem });
        }
    }
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.len() != wheel.library_bytes {
        return Err(broken(path, "it is cut or damaged"));
    }
    let identity = format!("{} {}\n", identity(&metadata), wheel.library_sha256);
    let note = folder.join(CHECKED);
    if fs::read_to_string(&note).is_ok_and(|checked| checked == identity) {
        return Ok(());
    }
    let found = digest::file(path).map_err(unreadable)?;
    if found != wheel.library_sha256 {
        return Err(broken(path, "it is not the pinned file"));
    }
    // If this fails, the next start computes the digest again.
    let _ = fs::write(&note, identity);
    Ok(())
}

fn broken(path: &Path, problem: &str) -> LibraryError {
    LibraryError::Broken { path: path.into(), problem: problem.into() }
}

/// Identifies a version of a file: device, inode, size and modification time.
fn identity(metadata: &Metadata) -> String {
    #[cfg(unix)]
    let (device, inode) = {
        use std::os::unix::fs::MetadataExt;
        (metadata.dev(), metadata.ino())
    };
    #[cfg(not(unix))]
    let (device, inode) = (0, 0);
    let modified = metadata.modified().ok();
    let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified = modified.map_or(0, |time| time.as_nanos());
    format!("{device} {inode} {} {modified}", metadata.len())
}

/// Whether users other than this one and root have write access, and why.
#[cfg(unix)]
fn others_may_write(metadata: &Metadata) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;

    /// Mode bits for write access of the group and others.
    const OTHERS_WRITE: u32 = 0o022;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        Some("belongs to another user")
    } else if metadata.mode() & OTHERS_WRITE != 0 {
        Some("may be written by others")
    } else {
        None
    }
}

/// On other systems, the access rights are inherited from the user's folder.
#[cfg(not(unix))]
fn others_may_write(_: &Metadata) -> Option<&'static str> {
    None
}
