//! The local cache of the Hugging Face hub, in the layout of its Python library.
//!
//! `models--ORG--NAME/refs/REVISION` holds the commit, whose files are in `snapshots/COMMIT/`. See
//! `huggingface_hub/constants.py` for the folder of the cache.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{Error, Result};

/// The default revision.
pub const MAIN: &str = "main";

/// Limit in bytes of the name of a model or revision.
const MAX_NAME: usize = 200;
/// Limit in bytes of a file with a commit.
const MAX_REFERENCE: u64 = 256;

/// A model of the hub: `OWNER/NAME`, or `NAME` for the oldest ones, and a revision of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelId {
    name: String,
    revision: Option<String>,
}

impl ModelId {
    /// A model by its name, and a branch, tag or commit of it.
    ///
    /// # Errors
    ///
    /// [`Error::ModelId`] where the hub can have no model of this name.
    pub fn new(name: &str, revision: Option<&str>) -> Result<Self> {
        let wrong = || Error::ModelId { text: name.to_owned() };
        if name.split('/').count() > 2
            || ![Some(name), revision].into_iter().flatten().all(is_plain)
        {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), revision: revision.map(str::to_owned) })
    }

    /// `OWNER/NAME`, or `NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The branch, tag or commit; [`MAIN`] by default.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }
}

impl FromStr for ModelId {
    type Err = Error;

    /// Reads `NAME[@REVISION]`.
    fn from_str(text: &str) -> Result<Self> {
        let (name, revision) = match text.split_once('@') {
            Some((name, revision)) => (name, Some(revision)),
            None => (text, None),
        };
        Self::new(name, revision).map_err(|_| Error::ModelId { text: text.to_owned() })
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))
    }
}

/// The folder of the hub's models.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache in this folder.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The cache that `HF_HUB_CACHE` or `HF_HOME` name, or else the user's. `None` if the user has
    /// no home folder.
    pub fn from_env() -> Option<Self> {
        let hub = || Some(home()?.join("hub"));
        set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")).or_else(hub).map(Self::new)
    }

    /// The folder of the cache.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a model in the cache.
    pub fn folder(&self, id: &ModelId) -> PathBuf {
        self.root.join(folder_name(&id.name))
    }

    /// The folder with a model's files, if the cache has it. Some files may be missing, since
    /// others may fetch only a part.
    pub fn find(&self, id: &ModelId) -> Option<PathBuf> {
        let model = self.folder(id);
        let reference = model.join("refs").join(id.revision());
        let commit = match fs::metadata(&reference) {
            Ok(file) if file.is_file() && file.len() <= MAX_REFERENCE => {
                fs::read_to_string(&reference).ok()?
            }
            _ => id.revision().to_owned(),
        };
        let commit = commit.trim();
        let folder = model.join("snapshots").join(commit);
        (is_plain(commit) && folder.is_dir()).then_some(folder)
    }
}

/// The folder of the hub's Python library, with its cache and the user's token.
pub fn home() -> Option<PathBuf> {
    set("HF_HOME")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("huggingface")))
        .or_else(|| Some(env::home_dir()?.join(".cache/huggingface")))
}

fn set(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn folder_name(name: &str) -> String {
    format!("models--{}", name.replace('/', "--"))
}

/// Whether a name consists of valid parts of the hub, and does not lead elsewhere.
pub fn is_plain(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.split('/').all(|part| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_by_its_name_and_revision() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path().to_owned());
        let model = root.path().join("models--facebook--bart-base");
        for commit in ["aaaa", "bbbb"] {
            fs::create_dir_all(model.join("snapshots").join(commit)).unwrap();
        }
        fs::create_dir_all(model.join("refs/refs/pr")).unwrap();
        fs::write(model.join("refs/main"), "aaaa").unwrap();
        fs::write(model.join("refs/refs/pr/1"), "bbbb\n").unwrap();
        let find = |text: &str| {
            let found = cache.find(&text.parse().ok()?)?;
            Some(found.file_name().unwrap().to_str().unwrap().to_owned())
        };
        let name = "facebook/bart-base";
        assert_eq!(find(name).as_deref(), Some("aaaa"));
        assert_eq!(find(&format!("{name}@refs/pr/1")).as_deref(), Some("bbbb"));
        assert_eq!(find(&format!("{name}@bbbb")).as_deref(), Some("bbbb"));
        assert_eq!(find(&format!("{name}@v2")), None);
        assert_eq!(find("facebook/bart-large"), None);
        fs::write(model.join("refs/main"), "../../..").unwrap();
        assert_eq!(find(name), None);
    }

    #[test]
    fn names_that_lead_elsewhere_are_no_models() {
        let long = "x".repeat(MAX_NAME + 1);
        let odd = ["../models--a--b", "/etc", "a/b/c", "", "a//b", ".hidden", "a b", "a\\b", &long];
        for odd in odd {
            for text in [odd.to_owned(), format!("facebook/bart-base@{odd}")] {
                let id: Result<ModelId> = text.parse();
                let allowed = text.ends_with("@a/b/c");
                assert_eq!(id.is_ok(), allowed, "{text}");
            }
        }
        let id: ModelId = "google/pegasus-xsum@v1.0".parse().unwrap();
        assert_eq!((id.name(), id.revision()), ("google/pegasus-xsum", "v1.0"));
        assert_eq!(id.to_string(), "google/pegasus-xsum@v1.0");
        assert_eq!("t5-small".parse::<ModelId>().unwrap().revision(), MAIN);
    }
}
