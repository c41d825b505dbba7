//! The folder in which a fetched library is kept, and why what lies there is trusted.
//!
//! A library runs with all rights of the process. So only this user (or root) may be able to write
//! the file and its folders, and the file must have the pinned digest. The digest is computed again
//! whenever the file is not the one that was checked before: whenever its device, inode, size or
//! time of change differ.

use std::env;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::error::LibraryError;
use super::platform::Wheel;
use crate::bundle::digest;

/// Names the folder that fetched libraries are kept in.
const VARIABLE: &str = "EPITOME_CACHE";
/// Holds the identity of the library that was checked last, beside it.
const CHECKED: &str = "checked";

/// The folder of the library of this wheel.
///
/// # Errors
/// [`LibraryError::NoCache`] where the user has no folder: one in the shared temporary folder would
/// be anybody's.
pub(super) fn folder(wheel: &Wheel) -> Result<PathBuf, LibraryError> {
    let given = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let of_user = |name: &str| given(name).filter(|folder| folder.is_absolute());
    let root = given(VARIABLE).or_else(|| match env::consts::OS {
        "windows" => of_user("LOCALAPPDATA").map(|folder| folder.join("epitome")),
        "macos" => of_user("HOME").map(|home| home.join("Library/Caches/epitome")),
        _ => of_user("XDG_CACHE_HOME")
            .or_else(|| of_user("HOME").map(|home| home.join(".cache")))
            .map(|folder| folder.join("epitome")),
    });
    let root = root.ok_or(LibraryError::NoCache)?;
    let root = std::path::absolute(&root)
        .map_err(|error| LibraryError::Store { folder: root, problem: error.to_string() })?;
    Ok(root.join(format!("onnxruntime-{}", wheel.version)))
}

/// Makes the folder, and those above it, for this user alone.
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
    for place in [path, folder, folder.parent().unwrap_or(folder)] {
        let metadata = fs::metadata(place).map_err(unreadable)?;
        if let Some(problem) = others_may_write(&metadata) {
            return Err(LibraryError::Untrusted { path: place.into(), problem });
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
    // Where it cannot be noted, the next start computes the digest again.
    let _ = fs::write(&note, identity);
    Ok(())
}

fn broken(path: &Path, problem: &str) -> LibraryError {
    LibraryError::Broken { path: path.into(), problem: problem.into() }
}

/// What tells one state of a file from another.
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

/// Why others than this user and root may write a file or folder.
#[cfg(unix)]
fn others_may_write(metadata: &Metadata) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;

    /// The bits of group and others to write.
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

/// Elsewhere the user's folders have lists of rights, which their parents hand down.
#[cfg(not(unix))]
fn others_may_write(_: &Metadata) -> Option<&'static str> {
    None
}
