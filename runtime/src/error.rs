//! Errors of the runtime. Each message is one sentence that says where, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::bundle::manifest::FORMAT;
use crate::generation::{GenerateError, ParameterError};

/// The result of this library's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// The message of an error's innermost source. That is usually the system's message, while the
/// outer ones only say that a call failed.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// An error of the runtime.
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
    /// The path holds no bundle.
    #[error("'{}' {problem}: give a folder that `epitome export` wrote", path.display())]
    NoBundle {
        /// The path.
        path: PathBuf,
        /// The reason.
        problem: &'static str,
    },
    /// The path holds optimum's layout, which this library does not run.
    #[error(
        "'{}' holds a model in optimum's layout, which epitome writes and does not run: export the \
         checkpoint without --layout optimum",
        path.display()
    )]
    OptimumLayout {
        /// The path.
        path: PathBuf,
    },
    /// This version cannot read the bundle's format.
    #[error(
        "'{}' is of bundle format {found}, and this version reads {FORMAT}: export the model again \
         with this version",
        path.display()
    )]
    BundleFormat {
        /// The manifest.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// A JSON file is invalid.
    #[error("'{}' {problem}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The reason.
        problem: String,
    },
    /// A file of the bundle has the wrong size.
    #[error(
        "'{}' has {found} bytes where the manifest says {expected}: the bundle was damaged, export \
         or copy it again",
        path.display()
    )]
    FileSize {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The size in the manifest.
        expected: u64,
    },
    /// A file of the bundle was changed.
    #[error(
        "'{}' has SHA-256 {found} where the manifest says {expected}: the bundle was changed, \
         export or copy it again",
        path.display()
    )]
    FileDigest {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: String,
        /// The digest in the manifest.
        expected: String,
    },
    /// A graph has other inputs or outputs than the manifest describes.
    #[error(
        "'{}' {problem}, which manifest.json describes: the bundle was changed, export the model \
         again",
        path.display()
    )]
    Interface {
        /// The graph.
        path: PathBuf,
        /// The difference.
        problem: String,
    },
    /// The ONNX Runtime library could not be found, fetched or loaded.
    #[error(transparent)]
    Library(#[from] crate::library::LibraryError),
    /// ONNX Runtime returned an error.
    #[error("ONNX Runtime failed {during}: {message}")]
    OnnxRuntime {
        /// The operation that failed.
        during: String,
        /// ONNX Runtime's message.
        message: String,
    },
    /// The tokenizer failed.
    #[error("the tokenizer in '{}' {problem}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The reason.
        problem: String,
    },
    /// A document is empty.
    #[error("document {index} is empty: give it some text")]
    EmptyText {
        /// Position of the document, from 0.
        index: usize,
    },
    /// A generation parameter is unknown, of the wrong type, or contradicts another.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// Generation was cancelled or failed.
    #[error("{0}")]
    Generate(String),
}

impl Error {
    /// Whether the arguments of the call are wrong, whatever the files contain.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::NoBundle { .. } | Self::OptimumLayout { .. } => true,
            Self::Parameter(error) => error.is_usage(),
            _ => false,
        }
    }

    /// An input or output error on `path`.
    pub fn io(path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io { path: path.as_ref().into(), source }
    }

    /// An error of ONNX Runtime. Its message is joined to one line.
    pub(crate) fn onnx_runtime(during: impl Into<String>, error: impl std::fmt::Display) -> Self {
        let message = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Self::OnnxRuntime { during: during.into(), message }
    }
}

impl From<GenerateError<Error>> for Error {
    fn from(error: GenerateError<Error>) -> Self {
        match error {
            GenerateError::Model(error) => error,
            GenerateError::Parameter(error) => Self::Parameter(error),
            other => Self::Generate(other.to_string()),
        }
    }
}
