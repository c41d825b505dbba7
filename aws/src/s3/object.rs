//! A version of an object, before its bytes are fetched.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::head_object::{HeadObjectError, HeadObjectOutput};
use aws_sdk_s3::types::ChecksumMode;

use super::checksum::{Check, Stored};
use super::client::S3;
use crate::error::{Error, Result};
use crate::uri::S3Uri;

/// Permission for reading.
pub(super) const READ: &str = "s3:GetObject";

/// One version of an object.
#[derive(Clone, Debug)]
pub struct Object {
    pub(super) uri: S3Uri,
    pub(super) size: u64,
    /// Identifies the version.
    pub(super) etag: Option<String>,
    stored: Option<Stored>,
    /// Size of the parts of the upload, for a checksum of the parts' checksums.
    part: Option<u64>,
}

impl Object {
    /// The current version of the object.
    pub(super) async fn find(s3: &S3, uri: &S3Uri) -> Result<Self> {
        let head = head(s3, uri).await?;
        let size = length(&head);
        let mut stored = Stored::of(&head);
        let parts = stored.as_ref().and_then(Stored::parts);
        let part = match parts {
            Some(parts) => part_size(s3, uri, size, parts).await,
            None => None,
        };
        if part.is_none() && parts.is_some() {
            // The size of the parts is unknown, so the checksum cannot be compared.
            stored = None;
        }
        Ok(Self { uri: uri.clone(), size, etag: head.e_tag().map(str::to_owned), stored, part })
    }

    /// Address of the object.
    pub fn uri(&self) -> &S3Uri {
        &self.uri
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A check of the bytes against the stored checksum; `None` without a usable checksum.
    pub(super) fn check(&self) -> Option<Check> {
        self.stored.as_ref().map(|stored| stored.check(self.part))
    }

    /// Name of the stored checksum.
    pub(super) fn algorithm(&self) -> &'static str {
        self.stored.as_ref().map_or("", Stored::algorithm)
    }
}

/// The answer to a HEAD request for an object.
pub(super) async fn head(s3: &S3, uri: &S3Uri) -> Result<HeadObjectOutput> {
    let head = s3.client().head_object().bucket(uri.bucket()).key(uri.key());
    match head.checksum_mode(ChecksumMode::Enabled).send().await {
        Ok(head) => Ok(head),
        Err(error) => Err(reason(s3, uri, &error).await),
    }
}

/// The reason why HEAD failed. The answer to HEAD has no body and thus no reason, but the answer to
/// GET has one.
async fn reason(s3: &S3, uri: &S3Uri, error: &SdkError<HeadObjectError, HttpResponse>) -> Error {
    let request = s3.request(uri, READ);
    if error.raw_response().is_some() {
        let get = s3.client().get_object().bucket(uri.bucket()).key(uri.key());
        if let Err(error) = get.range("bytes=0-0").send().await {
            return request.error(&error);
        }
    }
    request.error(error)
}

/// The common size of the `parts` of an object except the last.
async fn part_size(s3: &S3, uri: &S3Uri, size: u64, parts: u64) -> Option<u64> {
    let head = s3.client().head_object().bucket(uri.bucket()).key(uri.key());
    let first = length(&head.part_number(1).send().await.ok()?);
    (first > 0 && size.div_ceil(first) == parts).then_some(first)
}

fn length(head: &HeadObjectOutput) -> u64 {
    let length = head.content_length().unwrap_or_default();
    u64::try_from(length).unwrap_or_default()
}
