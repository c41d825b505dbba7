//! A bundle as a `model.tar.gz` on S3.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use epitome_runtime::progress::{Progress, ProgressReader, Total};
use flate2::{Compression, GzBuilder};

use super::client::S3;
use super::object::head;
use super::upload::{Precondition, Put, Upload};
use crate::error::{Error, Result};
use crate::uri::S3Uri;

/// SageMaker's name of a model archive.
const ARCHIVE: &str = "model.tar.gz";

/// Suffix of an archive's name.
const SUFFIX: &str = ".tar.gz";

/// Metadata key of an object that is a bundle. Only such an object may be replaced.
const BUNDLE_METADATA: &str = "epitome-bundle";

/// An address that a bundle may be sent to.
#[derive(Clone, Debug)]
pub struct Destination {
    uri: S3Uri,
    precondition: Precondition,
}

impl Destination {
    /// The address of the archive.
    pub fn uri(&self) -> &S3Uri {
        &self.uri
    }

    /// Whether an earlier bundle exists there.
    pub fn has_bundle(&self) -> bool {
        matches!(self.precondition, Precondition::ETag(_))
    }
}

impl S3 {
    /// Checks that a bundle may be sent to an address: to an archive, or to a `model.tar.gz` in a
    /// folder. A bundle only replaces an earlier bundle.
    ///
    /// # Errors
    ///
    /// [`Error::DestinationName`], [`Error::DestinationExists`], and any error of the request.
    pub fn destination(&self, uri: &S3Uri, progress: &dyn Progress) -> Result<Destination> {
        let uri = match uri.is_folder() {
            true => uri.join(ARCHIVE),
            false => uri.clone(),
        };
        if !uri.key().ends_with(SUFFIX) {
            return Err(Error::DestinationName { uri });
        }
        let precondition = self.wait(progress, async {
            let found = match head(self, &uri).await {
                Ok(found) => found,
                // Without s3:ListBucket, S3 denies access to an object that does not exist. Writing
                // may still be allowed.
                Err(Error::NoSuchKey { .. } | Error::Denied { .. }) => {
                    return Ok(Precondition::Absent);
                }
                Err(error) => return Err(error),
            };
            let is_bundle =
                found.metadata().is_some_and(|marks| marks.contains_key(BUNDLE_METADATA));
            match found.e_tag {
                Some(etag) if is_bundle => Ok(Precondition::ETag(etag)),
                _ => Err(Error::DestinationExists { uri: uri.clone() }),
            }
        })?;
        Ok(Destination { uri, precondition })
    }

    /// Packs the bundle in `folder` with its files at the top of the archive, and uploads it.
    ///
    /// The same files make the same archive. It is packed during the upload. The object appears
    /// when it is complete. After an error or an interruption nothing is left of it.
    ///
    /// # Errors
    ///
    /// Any error of reading or sending. [`Error::DestinationChanged`] if another client wrote the
    /// object since `destination` was checked.
    pub fn put_bundle(
        &self,
        folder: &Path,
        destination: &Destination,
        progress: &dyn Progress,
    ) -> Result<()> {
        let files = files(folder)?;
        let total: u64 = files.iter().map(|file| file.bytes).sum();
        let put = Put {
            uri: &destination.uri,
            precondition: &destination.precondition,
            content_type: "application/gzip",
            metadata: Some((BUNDLE_METADATA, env!("CARGO_PKG_VERSION").to_owned())),
            // Deflate adds five bytes to a block that it cannot compress; tar adds up to two
            // blocks to a file.
            bytes: total + total / 1000 + 4096 * (files.len() as u64 + 1),
        };
        progress.start(&format!("Sending {}", destination.uri), Total::Bytes(total));
        let mut upload = Upload::new(self, put, progress);
        pack(&files, &mut upload, progress)?;
        upload.finish()
    }

    /// Uploads a file unchanged. Replaces any object at the address.
    ///
    /// # Errors
    ///
    /// Any error of reading or sending. Nothing is left of the new object then.
    pub fn put_file(&self, path: &Path, uri: &S3Uri, progress: &dyn Progress) -> Result<()> {
        let file = PlainFile::at(path.to_owned())?;
        let put = Put {
            uri,
            precondition: &Precondition::None,
            content_type: "application/octet-stream",
            metadata: None,
            bytes: file.bytes,
        };
        progress.start(&format!("Sending {uri}"), Total::Bytes(file.bytes));
        let mut upload = Upload::new(self, put, progress);
        let mut reader = file.open(progress)?;
        io::copy(&mut reader, &mut upload).map_err(|error| file.error(error))?;
        upload.finish()
    }
}

/// A file that is uploaded.
struct PlainFile {
    path: PathBuf,
    bytes: u64,
}

impl PlainFile {
    fn at(path: PathBuf) -> Result<Self> {
        let metadata = fs::metadata(&path).map_err(|error| Error::io(&path, error))?;
        Ok(Self { bytes: metadata.len(), path })
    }

    fn open<'a>(&self, progress: &'a dyn Progress) -> Result<ProgressReader<'a, File>> {
        let file = File::open(&self.path).map_err(|error| Error::io(&self.path, error))?;
        let interrupted = || io::Error::other(Error::Interrupted);
        Ok(ProgressReader::new(file, progress, interrupted))
    }

    /// The error of copying the file: of the upload, or of the file itself.
    fn error(&self, error: io::Error) -> Error {
        let own = error.downcast::<Error>();
        own.unwrap_or_else(|error| Error::io(&self.path, error))
    }
}

/// A bundle's files by name.
fn files(folder: &Path) -> Result<Vec<PlainFile>> {
    let io = |error| Error::io(folder, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        files.push(PlainFile::at(entry.map_err(io)?.path())?);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Writes a gzipped tar archive that depends only on the files.
fn pack(files: &[PlainFile], out: &mut dyn Write, progress: &dyn Progress) -> Result<()> {
    // Weights hardly compress, so a higher level would only take longer.
    let gzip = GzBuilder::new().mtime(0).write(out, Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.bytes);
        header.set_mode(0o644);
        // The value that the crate `tar` uses: GNU tar warns about zero.
        header.set_mtime(1_153_704_088);
        let name = file.path.file_name().unwrap_or_default();
        let mut reader = file.open(progress)?.take(file.bytes);
        tar.append_data(&mut header, name, &mut reader).map_err(|error| file.error(error))?;
        if reader.limit() > 0 {
            return Err(file.error(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    let ended = tar.into_inner().and_then(flate2::write::GzEncoder::finish);
    match (ended, files.last()) {
        (Err(error), Some(last)) => Err(last.error(error)),
        _ => Ok(()),
    }
}
