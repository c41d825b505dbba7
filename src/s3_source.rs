//! A model on S3, as the source of an export.
//!
//! An object is a `model.tar.gz` or `.tar`, which is unpacked during the download and never stored.
//! A prefix is a checkpoint folder of a training job that does not compress its output. Only the
//! files that an export reads are fetched.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use epitome_aws::{Found, Object, S3, S3Uri};
use epitome_export::source::{Origin, Packed, RemoteFolder, Source};
use epitome_export::{Error, Result};
use epitome_runtime::progress::{Progress, Total};

/// A model at an address.
pub(crate) struct S3Source {
    pub(crate) s3: &'static S3,
    pub(crate) uri: S3Uri,
}

impl Origin for S3Source {
    fn open(&self, scratch: Option<&Path>, progress: &dyn Progress) -> Result<Source> {
        let path = PathBuf::from(self.uri.to_string());
        match self.s3.find(&self.uri, progress).map_err(failed)? {
            Found::Object(object) => {
                let archive = Archive { s3: self.s3, path, object: *object };
                Source::from_archive(&archive, scratch, progress)
            }
            Found::Prefix(files) => {
                let folder = Folder { source: self, path, files };
                Source::from_remote_folder(&folder, scratch, progress)
            }
        }
    }
}

fn failed(error: epitome_aws::Error) -> Error {
    Error::Origin(Box::new(error))
}

struct Archive {
    s3: &'static S3,
    path: PathBuf,
    object: Object,
}

impl Packed for Archive {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open<'a>(&'a self, progress: &'a dyn Progress) -> Result<Box<dyn Read + 'a>> {
        let what = format!("Fetching and unpacking {}", self.path.display());
        progress.start(&what, Total::Bytes(self.object.size()));
        Ok(Box::new(self.s3.download(self.object.clone(), progress)))
    }
}

struct Folder<'s> {
    source: &'s S3Source,
    path: PathBuf,
    files: BTreeMap<String, u64>,
}

impl RemoteFolder for Folder<'_> {
    fn path(&self) -> &Path {
        &self.path
    }

    fn files(&self) -> &BTreeMap<String, u64> {
        &self.files
    }

    fn open<'a>(
        &'a self,
        file: &str,
        progress: &'a dyn Progress,
    ) -> Result<(u64, Box<dyn Read + 'a>)> {
        let S3Source { s3, uri } = self.source;
        let object = s3.object(&uri.join(file), progress).map_err(failed)?;
        Ok((object.size(), Box::new(s3.download(object, progress))))
    }
}
