//! The exported models of this machine, by name.
//!
//! `models/OWNER--NAME/bundle/` is the bundle, and `model.json` beside it the [`Record`] of its
//! origin. `LICENSE` is the text of the license. `default` holds the name of the default model.

mod record;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use epitome_export::hub_cache::is_plain;
use epitome_runtime::bundle::{Bundle, FORMAT, MANIFEST, Manifest};

pub use record::Record;

use crate::error::{Error, Result};
use crate::{files, folders};

/// The variable that names the folder of the store.
const VARIABLE: &str = "EPITOME_HOME";
/// Folder of all models.
const MODELS: &str = "models";
/// Folder of a model's bundle.
const BUNDLE: &str = "bundle";
/// File of a model's record.
const RECORD: &str = "model.json";
/// File with the text of a model's license.
const LICENSE: &str = "LICENSE";
/// File with the name of the default model.
const DEFAULT: &str = "default";
/// Replaces the `/` of a name in folder names, as in the hub's cache.
const SEPARATOR: &str = "--";
/// Size limit in bytes of small files.
const MAX_SMALL: u64 = 1 << 20;

/// A store of models.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// A model of the store.
#[derive(Clone, Debug)]
pub struct StoredModel {
    /// `OWNER/NAME`, `NAME`, or a name that the user chose.
    pub name: String,
    /// Folder of the bundle.
    pub bundle: PathBuf,
    /// The record of its origin; `None` if the file is missing.
    pub record: Option<Record>,
    /// Whether it can be used.
    pub state: State,
}

/// Whether a model of the store can be used.
#[derive(Clone, Debug)]
pub enum State {
    /// It is usable.
    Ready(Box<Manifest>),
    /// Its bundle has another format, of another version of epitome.
    OtherFormat(u64),
    /// A part is missing or damaged.
    Broken(String),
}

impl Store {
    /// The store in this folder, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The store in `EPITOME_HOME`, or in the user's data folder.
    ///
    /// # Errors
    ///
    /// [`Error::NoHome`] if neither is set.
    pub fn from_env() -> Result<Self> {
        let given = env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        given.or_else(folders::data).map(Self::new).ok_or(Error::NoHome)
    }

    /// The folder of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All models, sorted by name.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn models(&self) -> Result<Vec<StoredModel>> {
        let folder = self.root.join(MODELS);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(&folder, error)),
        };
        let mut models = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Error::io(&folder, error))?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if is_plain(&name) && entry.path().is_dir() {
                models.push(open(name.replacen(SEPARATOR, "/", 1), &entry.path()));
            }
        }
        models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(models)
    }

    /// The model with this name, or the only one with this name behind its owner's.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<StoredModel>> {
        let models = self.models()?;
        if let Some(model) = models.iter().find(|model| model.name == name) {
            return Ok(Some(model.clone()));
        }
        let short = |model: &&StoredModel| model.name.rsplit('/').next() == Some(name);
        let mut found = models.iter().filter(short);
        Ok(found.next().filter(|_| found.next().is_none()).cloned())
    }

    /// The model with this name.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchModel`] if it does not exist.
    pub fn get(&self, name: &str) -> Result<StoredModel> {
        match self.find(name)? {
            Some(model) => Ok(model),
            None => Err(Error::NoSuchModel {
                name: name.to_owned(),
                known: self.models()?.into_iter().map(|model| model.name).collect(),
            }),
        }
    }

    /// The folder for the bundle of a model.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`] if the name is not valid.
    pub fn bundle(&self, name: &str) -> Result<PathBuf> {
        Ok(self.folder(name)?.join(BUNDLE))
    }

    /// Writes the record of a model, and the text of its license if it is in a file.
    ///
    /// # Errors
    ///
    /// The files cannot be written.
    pub fn keep(&self, name: &str, record: &Record, license: Option<&Path>) -> Result<()> {
        let folder = self.folder(name)?;
        if let Some(license) = license {
            let text = fs::read(license).map_err(|error| Error::io(license, error))?;
            write(&folder.join(LICENSE), &text)?;
        }
        let text = serde_json::to_string_pretty(record).expect("plain values become JSON");
        write(&folder.join(RECORD), format!("{text}\n").as_bytes())
    }

    /// Removes a model. Its checkpoint stays in the cache of the hub.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchModel`], or the model cannot be removed.
    pub fn remove(&self, name: &str) -> Result<StoredModel> {
        let model = self.get(name)?;
        let folder = self.folder(&model.name)?;
        // The model's name is free at once, even if the removal takes long.
        let aside = folder.with_file_name(format!(".removed-{}", std::process::id()));
        fs::rename(&folder, &aside).map_err(|error| Error::io(&folder, error))?;
        fs::remove_dir_all(&aside).map_err(|error| Error::io(&aside, error))?;
        if self.chosen().as_deref() == Some(model.name.as_str()) {
            let path = self.root.join(DEFAULT);
            fs::remove_file(&path).map_err(|error| Error::io(&path, error))?;
        }
        Ok(model)
    }

    /// The default model: the one that was set, or else the only one.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn default_model(&self) -> Result<Option<StoredModel>> {
        if let Some(name) = self.chosen()
            && let Some(model) = self.find(&name)?
        {
            return Ok(Some(model));
        }
        let mut models = self.models()?;
        Ok(models.pop().filter(|_| models.is_empty()))
    }

    /// Sets the default model.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchModel`], or the name cannot be stored.
    pub fn set_default(&self, name: &str) -> Result<StoredModel> {
        let model = self.get(name)?;
        write(&self.root.join(DEFAULT), format!("{}\n", model.name).as_bytes())?;
        Ok(model)
    }

    /// The name of the default model that was set.
    fn chosen(&self) -> Option<String> {
        let text = read_small(&self.root.join(DEFAULT))?;
        Some(text.trim().to_owned())
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        if !is_plain(name) || name.split('/').count() > 2 || name.contains(SEPARATOR) {
            return Err(Error::BadName { name: name.to_owned() });
        }
        Ok(self.root.join(MODELS).join(name.replace('/', SEPARATOR)))
    }
}

fn open(name: String, folder: &Path) -> StoredModel {
    let bundle = folder.join(BUNDLE);
    let record = read_small(&folder.join(RECORD));
    let record = record.and_then(|text| serde_json::from_str(&text).ok());
    let state = match format_of(&bundle) {
        Some(format) if format != u64::from(FORMAT) => State::OtherFormat(format),
        _ => match Bundle::open(&bundle) {
            Ok(bundle) => State::Ready(Box::new(bundle.manifest().clone())),
            Err(error) => State::Broken(error.to_string()),
        },
    };
    StoredModel { name, bundle, record, state }
}

/// The format in the manifest of a bundle.
fn format_of(bundle: &Path) -> Option<u64> {
    let manifest: serde_json::Value =
        serde_json::from_str(&read_small(&bundle.join(MANIFEST))?).ok()?;
    manifest["format"].as_u64()
}

fn read_small(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let small = metadata.is_file() && metadata.len() <= MAX_SMALL;
    small.then(|| fs::read_to_string(path).ok()).flatten()
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    files::write(path, bytes, VARIABLE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A store with folders of these names, whose bundles state these formats.
    fn store_with(models: &[(&str, u64)]) -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path());
        for (name, format) in models {
            let bundle = store.bundle(name).unwrap();
            fs::create_dir_all(&bundle).unwrap();
            fs::write(bundle.join(MANIFEST), json!({ "format": format }).to_string()).unwrap();
        }
        (root, store)
    }

    fn names(store: &Store) -> Vec<String> {
        store.models().unwrap().into_iter().map(|model| model.name).collect()
    }

    #[test]
    fn models_are_found_by_their_whole_names_and_by_what_only_one_ends_with() {
        let models = [("google/pegasus-xsum", 1), ("a/bart", 1), ("b/bart", 1), ("t5-small", 1)];
        let (_root, store) = store_with(&models);
        assert_eq!(names(&store), ["a/bart", "b/bart", "google/pegasus-xsum", "t5-small"]);
        let find = |name| store.find(name).unwrap().map(|model| model.name);
        assert_eq!(find("t5-small").as_deref(), Some("t5-small"));
        assert_eq!(find("pegasus-xsum").as_deref(), Some("google/pegasus-xsum"));
        assert_eq!(find("b/bart").as_deref(), Some("b/bart"));
        assert_eq!(find("bart"), None, "two have this name");
        assert_eq!(find("../t5-small"), None);
        let error = store.get("bart").unwrap_err().to_string();
        assert!(error.contains("a/bart, b/bart"), "{error}");
    }

    #[test]
    fn the_default_is_what_was_chosen_or_else_the_only_one() {
        let (_root, store) = store_with(&[("a/one", 1)]);
        let default = || store.default_model().unwrap().map(|model| model.name);
        assert_eq!(default().as_deref(), Some("a/one"));
        fs::create_dir_all(store.bundle("a/two").unwrap()).unwrap();
        assert_eq!(default(), None);
        assert!(store.set_default("three").is_err());
        store.set_default("two").unwrap();
        assert_eq!(default().as_deref(), Some("a/two"));
        store.remove("a/two").unwrap();
        assert_eq!(default().as_deref(), Some("a/one"));
        assert_eq!(fs::read_dir(store.root().join(MODELS)).unwrap().count(), 1);
    }

    #[test]
    fn bundles_of_another_format_and_broken_ones_are_told() {
        let (_root, store) = store_with(&[("old", 0), ("new", 999), ("cut", u64::from(FORMAT))]);
        let state = |name| store.get(name).unwrap().state;
        assert!(matches!(state("old"), State::OtherFormat(0)));
        assert!(matches!(state("new"), State::OtherFormat(999)));
        assert!(matches!(state("cut"), State::Broken(_)));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let (_root, store) = store_with(&[]);
        for name in ["", "..", "../x", "a/b/c", "/etc", "a--b", "a\\b", ".x", "a b"] {
            assert!(matches!(store.bundle(name), Err(Error::BadName { .. })), "{name}");
        }
        assert!(store.models().unwrap().is_empty());
        assert!(store.default_model().unwrap().is_none());
    }
}
