//! Downloads the files of a checkpoint that a conversion reads into the cache of the hub. The
//! layout is that of the hub's Python library, so that both share files.
//!
//! A file is a blob, named by its `ETag`, and a link to it in the folder of the commit. A partial
//! blob is kept as `ETAG.incomplete`, and the next attempt resumes it.

mod blob;
mod client;
mod disk;
mod listing;
mod origin;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use epitome_export::hub_cache::ModelId;
use epitome_export::source::files_read;
use epitome_export::{Error as ExportError, check_supported};
use epitome_runtime::progress::{Progress, Total};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::license::License;
use crate::settings::Settings;
use blob::Repository;
use client::Client;
use listing::Listing;

pub use origin::HubModel;

/// The configuration, which is checked before the weights are fetched.
const CONFIG: &str = "config.json";
/// Suffix of the index of a model in shards.
const INDEX: &str = ".index.json";
/// Files with the text of a license.
const LICENSES: [&str; 4] = ["LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE"];
/// Size limit of a license file in bytes.
const MAX_LICENSE: u64 = 1 << 20;

/// The hub, or a mirror of it.
#[derive(Clone, Debug)]
pub struct Hub {
    settings: Settings,
    client: Client,
}

/// A model in the cache.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The folder of its files.
    pub folder: PathBuf,
    /// The commit of the files.
    pub commit: String,
    /// The license that the hub states; `None` if it states none, or was not asked.
    pub license: Option<License>,
}

impl Fetched {
    /// The file with the text of the license, if the model has one.
    pub fn license_text(&self) -> Option<PathBuf> {
        let paths = LICENSES.iter().map(|name| self.folder.join(name));
        paths.into_iter().find(|path| path.is_file())
    }
}

impl Hub {
    /// The hub with the settings of the environment.
    ///
    /// # Errors
    ///
    /// The environment's variables or the certificates of this machine are wrong.
    pub fn from_env() -> Result<Self> {
        Self::new(Settings::from_env()?)
    }

    /// The hub with these settings.
    ///
    /// # Errors
    ///
    /// The certificates of this machine are wrong.
    pub fn new(settings: Settings) -> Result<Self> {
        let client = Client::new(&settings)?;
        Ok(Self { settings, client })
    }

    /// The settings of the hub.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Measures the time of an answer of the hub, for a report.
    ///
    /// # Errors
    ///
    /// The hub does not answer.
    pub fn ping(&self) -> Result<std::time::Duration> {
        self.client.ping()
    }

    /// Fetches the files that a conversion reads and the cache lacks. Offline, or if the hub cannot
    /// be reached, the cache must have all of them.
    ///
    /// # Errors
    ///
    /// The model is not available.
    pub fn fetch(&self, id: &ModelId, progress: &dyn Progress) -> Result<Fetched> {
        if self.settings.offline {
            let offline = || Error::Offline {
                model: id.to_string(),
                cache: self.settings.cache.root().to_owned(),
            };
            return self.cached(id).ok_or_else(offline);
        }
        // The files of a commit never change.
        if let Some(cached) = self.cached(id).filter(|cached| cached.commit == id.revision()) {
            return Ok(cached);
        }
        match self.client.list(id) {
            Ok(listing) => self.fetch_listed(id, listing, progress),
            Err(error) if error.is_passing() => match self.cached(id) {
                Some(cached) => {
                    progress
                        .note(&format!("{error} The cache has {id}, and it is taken from there"));
                    Ok(cached)
                }
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// The model, if the cache has all files that a conversion reads.
    fn cached(&self, id: &ModelId) -> Option<Fetched> {
        let folder = self.settings.cache.find(id)?;
        let mut files = BTreeMap::new();
        list(&folder, "", &mut files);
        let read = files_read(Path::new(id.name()), &files).ok()?;
        let indices = read.iter().filter(|name| name.ends_with(INDEX));
        let mut shards = indices.flat_map(|name| shards(&folder, name));
        if !shards.all(|shard| files.contains_key(&shard)) {
            return None;
        }
        let commit = folder.file_name()?.to_str()?.to_owned();
        Some(Fetched { folder, commit, license: None })
    }

    fn fetch_listed(
        &self,
        id: &ModelId,
        listing: Listing,
        progress: &dyn Progress,
    ) -> Result<Fetched> {
        let Listing { commit, files, license } = listing;
        let mut read = files_read(Path::new(id.name()), &files)?;
        let small = |name: &&&str| files.get(**name).is_some_and(|size| *size <= MAX_LICENSE);
        read.extend(LICENSES.iter().filter(small));
        // Small files come first: they show whether the large ones are needed.
        read.sort_by_key(|name| (*name != CONFIG, files[*name], *name));
        let repository = Repository::new(&self.client, &self.settings.cache, id, &commit);
        let missing = read.iter().filter(|name| !repository.has(name)).map(|name| files[*name]);
        let bytes = missing.fold(0, u64::saturating_add);
        let free = free_room(&repository.folder()?);
        if free.is_some_and(|free| free < bytes) {
            return Err(Error::NoRoom {
                model: id.to_string(),
                needed: megabytes(bytes),
                folder: self.settings.cache.root().to_owned(),
                free: megabytes(free.unwrap_or_default()),
            });
        }
        if bytes > 0 {
            progress.start(&format!("Fetching {}", id.name()), Total::Bytes(bytes));
        }
        for name in read {
            repository.fetch(name, files[name], progress)?;
            if name == CONFIG {
                check_supported(&repository.snapshot())?;
            }
        }
        repository.remember(id.revision())?;
        let folder = repository.snapshot();
        Ok(Fetched { folder, commit, license })
    }
}

/// The shards in an index of a model, by their paths below `folder`.
fn shards(folder: &Path, index: &str) -> Vec<String> {
    let text = fs::read(folder.join(index)).unwrap_or_default();
    let index_of: Value = serde_json::from_slice(&text).unwrap_or_default();
    let beside = index.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let shards = index_of["weight_map"].as_object().into_iter().flat_map(|map| map.values());
    shards.filter_map(|shard| Some(format!("{beside}{}", shard.as_str()?))).collect()
}

/// Free space on the disk of a folder; `None` if it is unknown.
fn free_room(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let disk = rustix::fs::statvfs(folder).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", (bytes as f64 / 1e6).ceil())
}

/// Sizes of the files below a folder, one folder deep, by path.
fn list(folder: &Path, inside: &str, files: &mut BTreeMap<String, u64>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Links are followed: files are links to blobs.
        match fs::metadata(entry.path()) {
            Ok(metadata) if metadata.is_file() => {
                files.insert(format!("{inside}{name}"), metadata.len());
            }
            Ok(metadata) if metadata.is_dir() && inside.is_empty() => {
                list(&entry.path(), &format!("{name}/"), files);
            }
            _ => {}
        }
    }
}

impl From<Error> for ExportError {
    fn from(error: Error) -> Self {
        match error {
            Error::Export(error) => error,
            Error::Interrupted => Self::Interrupted,
            error => Self::Origin(Box::new(error)),
        }
    }
}
