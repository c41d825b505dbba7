//! What can be wrong with the store, the hub or the way to it, one variant and one sentence each.

use std::io;
use std::path::{Path, PathBuf};

/// The result of everything in this crate that can fail.
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
        /// What the operating system said.
        source: io::Error,
    },
    /// The disk has no room left.
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

    /// Nothing says where this user keeps data.
    #[error("this user has no folder for data: set EPITOME_HOME to a folder for models")]
    NoHome,
    /// Nothing says where the cache of the hub is.
    #[error("this user has no folder for a cache: set HF_HOME to a folder for downloads")]
    NoCache,
    /// No model of the store has this name.
    #[error("'{name}' {}", no_such_model(name, known))]
    NoSuchModel {
        /// The name given.
        name: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// No model can have this name.
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
    /// The hub has no such model, or does not show it.
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
        /// The revision asked for.
        revision: String,
        /// The page with all.
        page: String,
    },
    /// The owners want their conditions to be accepted first.
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
    /// The token is wrong or may not do this.
    #[error("the hub refuses the token of {origin}: make one that may read at {page}")]
    BadToken {
        /// Where the token came from.
        origin: String,
        /// Where tokens are made.
        page: String,
    },
    /// The hub answered with an error.
    #[error("{url} answers {status}{message}")]
    Status {
        /// The address.
        url: String,
        /// The status, in numbers and words.
        status: String,
        /// What the hub says about it, after a colon.
        message: String,
    },
    /// The answer is not one of the hub's.
    #[error(
        "{url} does not answer as the hub does ({problem}): is HF_ENDPOINT right, and is no \
         proxy's login page in the way?"
    )]
    NotTheHub {
        /// The address.
        url: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// The hub cannot be reached.
    #[error("{host} cannot be reached ({problem}): are you online, and is HTTPS_PROXY right?")]
    Unreachable {
        /// The host.
        host: String,
        /// Why.
        problem: String,
    },
    /// A setting is wrong.
    #[error("{name} is '{value}', {problem}")]
    Setting {
        /// The environment variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it and what would be right.
        problem: &'static str,
    },
    /// The hub describes a file that is refused.
    #[error("{model}: the file '{file}' is refused: {problem}")]
    RefusedFile {
        /// The model's name.
        model: String,
        /// The file's name as the hub gives it, shortened when very long.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file arrived, and is not what the hub said.
    #[error("{file} arrived damaged ({problem}): fetch it again")]
    Damaged {
        /// The file's name.
        file: String,
        /// What differs.
        problem: String,
    },
    /// A download broke off again and again.
    #[error("{file} broke off {tries} times ({problem}): what arrived is kept, so try again later")]
    BrokenOff {
        /// The file's name.
        file: String,
        /// How often it was tried.
        tries: u32,
        /// Why at last.
        problem: String,
    },
    /// The disk has less room than the files need.
    #[error(
        "{model} needs {needed} in {}, and {free} are free: free some, or set HF_HOME to a folder \
         elsewhere",
        folder.display()
    )]
    NoRoom {
        /// The model's name.
        model: String,
        /// What the files take.
        needed: String,
        /// The folder of the cache.
        folder: PathBuf,
        /// What is free.
        free: String,
    },

    /// The checkpoint cannot be exported.
    #[error(transparent)]
    Export(#[from] epitome_export::Error),
}

impl Error {
    /// Whether the command was called wrongly, whatever the hub and the disk hold.
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

    /// Whether the same request may be answered a little later.
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

    /// The same below the folder that `variable` names.
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
