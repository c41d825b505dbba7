//! Errors of the store, the hub and the network, one variant and one sentence each.

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model could not be fetched, found or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to open, read or write a file.
    #[error("{} could not be read or written", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The disk is full.
    #[error(
        "no room is left on the disk while writing {}: free some, or choose another with \
         {variable}",
        path.display()
    )]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
        /// The environment variable that names the folder.
        variable: &'static str,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,

    /// The user's data folder is unknown.
    #[error("this user has no folder for data: set EPITOME_HOME to a folder for models")]
    NoHome,
    /// The folder of the hub's cache is unknown.
    #[error("this user has no folder for a cache: set HF_HOME to a folder for downloads")]
    NoCache,
    /// The store has no model of this name.
    #[error("'{name}' {}", no_such_model(name, known))]
    NoSuchModel {
        /// The name given.
        name: String,
        /// Names of the existing models.
        known: Vec<String>,
    },
    /// The name is not valid for a model.
    #[error(
        "'{name}' cannot be the name of a model: write letters, digits, '.', '_' and '-', with \
         one '/' at most"
    )]
    BadName {
        /// The name given.
        name: String,
    },

    /// `HF_HUB_OFFLINE` is set, and the cache lacks the model.
    #[error(
        "{model} is not in the cache ({}), and HF_HUB_OFFLINE forbids to fetch it: unset it while \
         you are online",
        cache.display()
    )]
    Offline {
        /// The model, with its revision.
        model: String,
        /// The folder of the cache.
        cache: PathBuf,
    },
    /// The hub has no such model, or it is private.
    #[error(
        "the hub has no model '{model}', or it is private: look for it at {page}, and set HF_TOKEN \
         for a private one"
    )]
    NoSuchRepository {
        /// The model's name.
        model: String,
        /// Its page.
        page: String,
    },
    /// The model has no such revision.
    #[error("{model} has no revision '{revision}': {page} lists its branches, tags and commits")]
    NoSuchRevision {
        /// The model's name.
        model: String,
        /// The requested revision.
        revision: String,
        /// The page with all revisions.
        page: String,
    },
    /// The model's conditions must be accepted first.
    #[error(
        "{model} is gated: accept its conditions at {page}, then set HF_TOKEN to a token of your \
         account"
    )]
    Gated {
        /// The model's name.
        model: String,
        /// Its page.
        page: String,
    },
    /// The token is invalid, or lacks permission.
    #[error("the hub refuses the token of {origin}: make one that may read at {page}")]
    BadToken {
        /// Origin of the token.
        origin: String,
        /// The page where tokens are made.
        page: String,
    },
    /// The hub answered with an error.
    #[error("{url} answers {status}{message}")]
    Status {
        /// The address.
        url: String,
        /// The status, as number and text.
        status: String,
        /// The hub's message, after a colon.
        message: String,
    },
    /// The answer does not come from a hub.
    #[error(
        "{url} does not answer as the hub does ({problem}): is HF_ENDPOINT right, and is no \
         proxy's login page in the way?"
    )]
    NotTheHub {
        /// The address.
        url: String,
        /// Description of the problem.
        problem: String,
    },
    /// The hub cannot be reached.
    #[error("{host} cannot be reached ({problem}): are you online, and is HTTPS_PROXY right?")]
    Unreachable {
        /// The host.
        host: String,
        /// The reason.
        problem: String,
    },
    /// A setting is wrong.
    #[error("{name} is '{value}', {problem}")]
    Setting {
        /// The environment variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// Description of the problem and of what would be right.
        problem: &'static str,
    },
    /// The hub lists a file that is refused.
    #[error("{model}: the file '{file}' is refused: {problem}")]
    RefusedFile {
        /// The model's name.
        model: String,
        /// The file's name as the hub gives it, shortened when very long.
        file: String,
        /// Description of the problem.
        problem: String,
    },
    /// A fetched file differs from the hub's description.
    #[error("{file} arrived damaged ({problem}): fetch it again")]
    Damaged {
        /// The file's name.
        file: String,
        /// The difference.
        problem: String,
    },
    /// A download failed repeatedly.
    #[error("{file} broke off {tries} times ({problem}): what arrived is kept, so try again later")]
    BrokenOff {
        /// The file's name.
        file: String,
        /// Number of attempts.
        tries: u32,
        /// The last reason.
        problem: String,
    },
    /// The disk has too little free space for the files.
    #[error(
        "{model} needs {needed} in {}, and {free} are free: free some, or set HF_HOME to a folder \
         elsewhere",
        folder.display()
    )]
    NoRoom {
        /// The model's name.
        model: String,
        /// Size of the files.
        needed: String,
        /// The folder of the cache.
        folder: PathBuf,
        /// Free space.
        free: String,
    },

    /// The checkpoint cannot be exported.
    #[error(transparent)]
    Export(#[from] epitome_export::Error),
}

impl Error {
    /// Whether the command was called wrongly, independent of the hub and the disk.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::NoSuchModel { .. } | Self::BadName { .. } | Self::Setting { .. } => true,
            Self::Export(error) => error.is_usage(),
            _ => false,
        }
    }

    /// Whether the user asked to stop.
    pub fn is_interrupted(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Export(error) => error.is_interrupted(),
            _ => false,
        }
    }

    /// Whether the same request may succeed a little later.
    #[cfg(feature = "download")]
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => status.starts_with('5') || status.starts_with("429"),
            _ => false,
        }
    }

    /// An error of the operating system at `path`, below the folder of the store.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::io_in(path, source, "EPITOME_HOME")
    }

    /// An error of the operating system at `path`, below the folder that `variable` names.
    pub(crate) fn io_in(path: &Path, source: io::Error, variable: &'static str) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.to_owned(), variable }
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }
}

fn no_such_model(name: &str, known: &[String]) -> String {
    let same: Vec<_> =
        known.iter().filter(|known| known.ends_with(&format!("/{name}"))).cloned().collect();
    if !same.is_empty() {
        return format!("is the end of several names: write one of {}", same.join(", "));
    }
    match known {
        [] => format!("is not in the store, which is empty: fetch it with 'epitome pull {name}'"),
        known => format!(
            "is not in the store, which has {}: fetch it with 'epitome pull {name}'",
            known.join(", ")
        ),
    }
}
