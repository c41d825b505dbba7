//! A model on S3: an archive, or a prefix with a checkpoint's files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::download::Download;
use super::error::Error;
use super::object::Object;
use super::s3::S3;
use super::uri::S3Uri;
use crate::source::{
    Description, FolderDigest, Folders, Kind, MAX_DEPTH, Origin, Packed, Source, choose,
    scratch_folder,
};
use crate::{Progress, Result};

/// The permission that a prefix needs.
const LIST: &str = "s3:ListBucket";

/// The most objects below the prefix of a model.
const MAX_OBJECTS: usize = 10_000;

/// A model on S3, to be opened and exported like one on the disk.
///
/// The address of an object is that of a `model.tar.gz` or `.tar`. A prefix, with its slash or
/// without, is taken for a folder, as training jobs leave it that do not compress their output.
#[derive(Clone, Debug)]
pub struct Model<'a> {
    s3: &'a S3,
    uri: S3Uri,
}

impl<'a> Model<'a> {
    pub(super) fn new(s3: &'a S3, uri: S3Uri) -> Self {
        Self { s3, uri }
    }

    /// Fetches the files that a conversion reads into a temporary folder.
    fn open_prefix(&self, scratch: Option<&Path>, progress: &dyn Progress) -> Result<Source> {
        let found = self.s3.wait(progress, self.list())?;
        let folders = found.folders();
        let (inside, used) = choose(&self.uri.shown(), &folders)?;
        let sizes = used.iter().map(|name| found.size(inside, name)).sum();
        progress.start(&format!("Fetching {}", self.uri), sizes);

        let scratch = scratch_folder(scratch)?;
        let mut digest = FolderDigest::new();
        for name in used {
            let path = match inside {
                "" => name.to_owned(),
                inside => format!("{inside}/{name}"),
            };
            let uri = self.uri.join(&path);
            let object = self.s3.wait(progress, Object::find(self.s3, &uri))?;
            digest.begin(name, object.size);
            let download = Download::new(self.s3, &object, progress);
            write(download, &scratch.path().join(name), &mut digest)?;
        }
        let description = Description {
            kind: Kind::Folder,
            name: self.uri.to_string(),
            inside: inside.to_owned(),
        };
        Ok(Source::from_fetched(scratch, digest, description))
    }

    /// The objects below the prefix.
    async fn list(&self) -> Result<Listing, Error> {
        let prefix = match self.uri.is_folder() {
            true => self.uri.key().to_owned(),
            false => format!("{}/", self.uri.key()),
        };
        let list = self.s3.client().list_objects_v2();
        let list = list.bucket(self.uri.bucket()).prefix(&prefix);
        let mut pages = list.into_paginator().send();
        let mut sizes = BTreeMap::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.s3.request(&self.uri, LIST).error(&error))?;
            for object in page.contents() {
                let name = object.key().and_then(|key| key.strip_prefix(&prefix));
                if let (Some(name), Some(size)) = (name, object.size()) {
                    sizes.insert(name.to_owned(), u64::try_from(size).unwrap_or_default());
                }
            }
            if sizes.len() > MAX_OBJECTS {
                return Err(Error::TooManyObjects {
                    uri: self.uri.clone(),
                    limit: MAX_OBJECTS,
                });
            }
        }
        match sizes.is_empty() {
            true => Err(Error::NoSuchKey {
                uri: self.uri.clone(),
            }),
            false => Ok(Listing { sizes }),
        }
    }
}

impl Origin for Model<'_> {
    fn open(&self, scratch: Option<&Path>, progress: &dyn Progress) -> Result<Source> {
        if self.uri.is_folder() {
            return self.open_prefix(scratch, progress);
        }
        match self.s3.wait(progress, Object::find(self.s3, &self.uri)) {
            Ok(object) => {
                let packed = PackedObject {
                    s3: self.s3,
                    path: self.uri.shown(),
                    object,
                };
                Source::from_archive(&packed, self.uri.to_string(), scratch, progress)
            }
            Err(crate::Error::Fetch(missing @ Error::NoSuchKey { .. })) => {
                match self.open_prefix(scratch, progress) {
                    // It need not be allowed to look for what was not asked for.
                    Err(crate::Error::Fetch(Error::Denied { .. })) => Err(missing.into()),
                    opened => opened,
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// The objects below a prefix: their keys without it, and their sizes.
struct Listing {
    sizes: BTreeMap<String, u64>,
}

impl Listing {
    /// The files of each folder that is not too deep and not hidden.
    fn folders(&self) -> Folders {
        let mut folders = Folders::new();
        for path in self.sizes.keys() {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let mut parts = folder.split('/').filter(|_| !folder.is_empty());
            let hidden = parts
                .clone()
                .any(|part| part.starts_with('.') || part.is_empty());
            if !hidden && parts.nth(MAX_DEPTH).is_none() && !name.is_empty() {
                let names = folders.entry(folder.to_owned()).or_default();
                names.insert(name.to_owned());
            }
        }
        folders
    }

    fn size(&self, folder: &str, name: &str) -> u64 {
        let size = match folder {
            "" => self.sizes.get(name),
            folder => self.sizes.get(&format!("{folder}/{name}")),
        };
        size.copied().unwrap_or_default()
    }
}

/// An archive that is unpacked while it arrives.
struct PackedObject<'a> {
    s3: &'a S3,
    path: PathBuf,
    object: Object,
}

impl Packed for PackedObject<'_> {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open<'a>(&'a self, progress: &'a dyn Progress) -> Result<Box<dyn Read + 'a>> {
        let what = format!("Fetching and unpacking {}", self.path.display());
        progress.start(&what, self.object.size);
        Ok(Box::new(Download::new(self.s3, &self.object, progress)))
    }
}

/// Writes what arrives to a file.
fn write(mut from: impl Read, path: &Path, digest: &mut FolderDigest) -> Result<()> {
    let io = |error| crate::Error::io(path, error);
    let mut file = File::create(path).map_err(io)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.downcast::<crate::Error>().unwrap_or_else(io)),
        };
        digest.update(&buffer[..count]);
        file.write_all(&buffer[..count]).map_err(io)?;
    }
}
