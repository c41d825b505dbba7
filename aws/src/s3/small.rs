//! Small objects: requests and answers of asynchronous calls, and manifests.

use std::io::Read;

use epitome_runtime::Progress;

use super::client::S3;
use super::upload::{Precondition, Put, Upload};
use crate::error::{Error, Result};
use crate::uri::S3Uri;

/// Permission for removing.
const DELETE: &str = "s3:DeleteObject";

/// Largest answer in bytes that is read: the limit of asynchronous endpoints.
const MAX_BYTES: u64 = 1 << 30;

impl S3 {
    /// Writes an object, and replaces an existing one.
    ///
    /// # Errors
    /// Any error of sending. Nothing is left of the new object then.
    pub fn put(
        &self,
        uri: &S3Uri,
        content_type: &'static str,
        bytes: &[u8],
        progress: &dyn Progress,
    ) -> Result<()> {
        let put = Put {
            uri,
            precondition: &Precondition::None,
            content_type,
            metadata: None,
            bytes: bytes.len() as u64,
        };
        let mut upload = Upload::new(self, put, progress);
        std::io::Write::write_all(&mut upload, bytes).map_err(|error| own(uri, error))?;
        upload.finish()
    }

    /// The bytes of an object; `None` if it does not exist.
    ///
    /// # Errors
    /// Any other error of the request.
    pub fn get(&self, uri: &S3Uri, progress: &dyn Progress) -> Result<Option<Vec<u8>>> {
        let object = match self.object(uri, progress) {
            Ok(object) => object,
            Err(Error::NoSuchKey { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        let mut download = self.download(object, progress).take(MAX_BYTES);
        download.read_to_end(&mut bytes).map_err(|error| own(uri, error))?;
        Ok(Some(bytes))
    }

    /// Removes an object. A missing object is no error.
    ///
    /// # Errors
    /// Any error of the request.
    pub fn delete(&self, uri: &S3Uri) -> Result<()> {
        let delete = self.client().delete_object().bucket(uri.bucket()).key(uri.key());
        self.wait(&(), async {
            let gone = delete.send().await;
            gone.map_err(|error| self.request(uri, DELETE).error(&error)).map(drop)
        })
    }
}

/// The [`Error`] inside an I/O error.
fn own(uri: &S3Uri, error: std::io::Error) -> Error {
    let own = error.downcast::<Error>();
    own.unwrap_or_else(|error| Error::Failed(format!("{uri} cannot be transferred: {error}")))
}
