//! What can go wrong while measuring, each in one sentence.

use std::io;
use std::path::{Path, PathBuf};

/// The result of this library's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot use '{}': {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A data file is not what it should be.
    #[error("'{}' {problem}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// What was asked for cannot be measured.
    #[error("{0}")]
    Settings(String),
    /// Nothing was measured before the user stopped it.
    #[error("stopped before anything was measured")]
    Interrupted,
    /// The user stopped it; what was measured until then has been reported.
    #[error("stopped early; what was measured until then is kept")]
    StoppedEarly,
    /// The model could not be loaded or run.
    #[error(transparent)]
    Runtime(#[from] epitome_runtime::Error),
}

impl Error {
    /// An input or output error on `path`.
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }

    /// A file that is not what it should be.
    pub(crate) fn data(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::Data {
            path: path.as_ref().to_owned(),
            problem: problem.into(),
        }
    }
}
