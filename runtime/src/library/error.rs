//! Errors of finding, fetching and loading ONNX Runtime.

use std::path::PathBuf;

use super::platform::MINIMUM_MINOR;

/// An ONNX Runtime library could not be found, fetched or loaded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LibraryError {
    /// There is no library, and this build fetches none.
    #[error(
        "found no ONNX Runtime library beside the program or in '{}': put one there, or name it in \
         ORT_DYLIB_PATH",
        cache.display()
    )]
    Missing {
        /// The cache folder.
        cache: PathBuf,
    },
    /// The user has no cache folder.
    #[error(
        "found no ONNX Runtime library beside the program, and no folder of this user to keep one \
         in: set HOME or EPITOME_CACHE, or name a library in ORT_DYLIB_PATH"
    )]
    NoCache,
    /// Other users have write access to the cache.
    #[error("'{}' {problem}: remove it, or make it yours alone (chmod go-w)", path.display())]
    Untrusted {
        /// The library, or a folder above it.
        path: PathBuf,
        /// The reason why others have write access.
        problem: &'static str,
    },
    /// `ORT_DYLIB_PATH` names no file.
    #[error(
        "ORT_DYLIB_PATH names '{}', which is not a file: name an ONNX Runtime library, or unset it",
        path.display()
    )]
    NotAFile {
        /// The value of the variable.
        path: PathBuf,
    },
    /// The file is no ONNX Runtime library, or a damaged one.
    #[error(
        "'{}' is not a working ONNX Runtime library ({problem}): delete or replace it",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// The reason.
        problem: String,
    },
    /// The library is of an old version.
    #[error(
        "'{}' is ONNX Runtime {found}, and 1.{MINIMUM_MINOR} or newer is needed",
        path.display()
    )]
    TooOld {
        /// The file.
        path: PathBuf,
        /// Version of the library.
        found: String,
    },
    /// There is no pinned wheel for this platform.
    #[error("no ONNX Runtime wheel is known for {platform}: name a library in ORT_DYLIB_PATH")]
    UnknownPlatform {
        /// Operating system and processor.
        platform: String,
    },
    /// The wheel could not be fetched.
    #[error(
        "cannot fetch ONNX Runtime {version} ({problem}): connect once, or name an installed \
         library in ORT_DYLIB_PATH"
    )]
    Fetch {
        /// Version of the wheel.
        version: String,
        /// The reason.
        problem: String,
    },
    /// The fetched wheel is not the pinned one.
    #[error(
        "the fetched ONNX Runtime wheel has SHA-256 {found} instead of {expected}: nothing was \
         installed"
    )]
    WheelDigest {
        /// Digest of the fetched wheel.
        found: String,
        /// The pinned digest.
        expected: String,
    },
    /// The library could not be stored.
    #[error("cannot store the ONNX Runtime library in '{}': {problem}", folder.display())]
    Store {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        problem: String,
    },
}
