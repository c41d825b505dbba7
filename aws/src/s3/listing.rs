//! Looks up an address: it is an object, or a prefix with objects below it.

use std::collections::BTreeMap;

use aws_smithy_types::DateTime;
use epitome_runtime::Progress;

use super::client::S3;
use super::object::Object;
use crate::error::{Error, Result};
use crate::uri::S3Uri;

/// Permission for listing a prefix.
const LIST: &str = "s3:ListBucket";

/// Largest number of objects below the prefix of a model.
const MAX_OBJECTS: usize = 10_000;

/// Largest number of objects below the prefix of a job's documents.
const MAX_DOCUMENTS: usize = 1_000_000;

/// An entry of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Size in bytes.
    pub bytes: u64,
    /// Time of the last change, in seconds since 1970.
    pub modified: i64,
}

/// The content of an address.
#[derive(Debug)]
pub enum Found {
    /// An object.
    Object(Box<Object>),
    /// A prefix: the size in bytes of each object below it, by its key without the prefix.
    Prefix(BTreeMap<String, u64>),
}

impl S3 {
    /// Looks up an address: an object, or else a prefix with or without its slash.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`], and any other error of the request.
    pub fn find(&self, uri: &S3Uri, progress: &dyn Progress) -> Result<Found> {
        let missing = match uri.is_folder() {
            true => None,
            false => match self.object(uri, progress) {
                Ok(object) => return Ok(Found::Object(Box::new(object))),
                Err(missing @ Error::NoSuchKey { .. }) => Some(missing),
                Err(error) => return Err(error),
            },
        };
        match (self.wait(progress, list(self, uri, MAX_OBJECTS)), missing) {
            (Ok(files), _) if files.is_empty() => Err(Error::NoSuchKey { uri: uri.clone() }),
            (Ok(files), _) => {
                let sizes = files.into_iter().map(|(name, file)| (name, file.bytes));
                Ok(Found::Prefix(sizes.collect()))
            }
            // The user named an object, and may have no permission to list.
            (Err(Error::Denied { .. }), Some(missing)) => Err(missing),
            (Err(error), _) => Err(error),
        }
    }

    /// The objects below a prefix, by their keys without the prefix. There may be none.
    ///
    /// # Errors
    /// [`Error::TooManyObjects`], and any other error of the request.
    pub fn objects(
        &self,
        uri: &S3Uri,
        progress: &dyn Progress,
    ) -> Result<BTreeMap<String, Listed>> {
        self.wait(progress, list(self, uri, MAX_DOCUMENTS))
    }

    /// The current version of the object at an address.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`], and any other error of the request.
    pub fn object(&self, uri: &S3Uri, progress: &dyn Progress) -> Result<Object> {
        self.wait(progress, Object::find(self, uri))
    }
}

/// The objects below a prefix.
async fn list(s3: &S3, uri: &S3Uri, limit: usize) -> Result<BTreeMap<String, Listed>> {
    let prefix = match uri.is_folder() {
        true => uri.key().to_owned(),
        false => format!("{}/", uri.key()),
    };
    let list = s3.client().list_objects_v2();
    let list = list.bucket(uri.bucket()).prefix(&prefix);
    let mut pages = list.into_paginator().send();
    let mut files = BTreeMap::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| s3.request(uri, LIST).error(&error))?;
        for object in page.contents() {
            let name = object.key().and_then(|key| key.strip_prefix(&prefix));
            if let (Some(name), Some(size)) = (name, object.size()) {
                let bytes = u64::try_from(size).unwrap_or_default();
                let modified = object.last_modified().map_or(0, DateTime::secs);
                files.insert(name.to_owned(), Listed { bytes, modified });
            }
        }
        if files.len() > limit {
            return Err(Error::TooManyObjects { uri: uri.clone(), limit });
        }
    }
    Ok(files)
}
