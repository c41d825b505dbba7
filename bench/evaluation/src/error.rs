//! Errors of measurements.

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate's functions.
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
        /// The system's error.
        source: io::Error,
    },
    /// A data file is not valid.
    #[error("'{}' {problem}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// The problem, and what would be right.
        problem: String,
    },
    /// A setting is not valid.
    #[error("{0}")]
    Settings(String),
    /// The user stopped the measurement before its first result.
    #[error("stopped before anything was measured")]
    Interrupted,
    /// The user stopped the measurement; the results until then have been reported.
    #[error("stopped early; what was measured until then is kept")]
    StoppedEarly,
    /// Something is slower or worse than allowed, in a sentence.
    #[error("{0}")]
    Worse(String),
    /// The machine is too noisy to tell, in a sentence.
    #[error("{0}")]
    TooNoisy(String),
    /// A process that runs a model failed.
    #[error("the process that ran '{}' failed: {problem}", model.display())]
    Worker {
        /// Path of the model.
        model: PathBuf,
        /// Message of the process.
        problem: String,
    },
    /// The model could not be loaded or run.
    #[error(transparent)]
    Runtime(#[from] epitome_runtime::Error),
}

impl Error {
    /// Whether the user interrupted.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted | Self::StoppedEarly)
    }

    /// Whether a limit that the user set is not kept.
    pub fn is_worse(&self) -> bool {
        matches!(self, Self::Worse(_))
    }

    /// Whether the machine was too noisy to tell.
    pub fn is_noise(&self) -> bool {
        matches!(self, Self::TooNoisy(_))
    }

    /// Whether the command was called wrongly: the same call can never succeed.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Settings(_) => true,
            Self::Runtime(error) => error.is_usage(),
            _ => false,
        }
    }

    /// An input or output error on `path`.
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }

    /// A data file that is not valid.
    pub(crate) fn data(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::Data { path: path.as_ref().to_owned(), problem: problem.into() }
    }
}
