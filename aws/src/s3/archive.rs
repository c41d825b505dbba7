//! A bundle as a `model.tar.gz` on S3.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use epitome_runtime::progress::{Progress, Total};
use flate2::{Compression, GzBuilder};

use super::client::S3;
use super::object::head;
use super::upload::{Condition, Put, Upload};
use crate::error::{Error, Result};
use crate::uri::S3Uri;

/// The name that SageMaker gives models.
const ARCHIVE: &str = "model.tar.gz";

/// What names an archive.
const SUFFIX: &str = ".tar.gz";

/// The metadata by which an object is known for a bundle that may be replaced.
const MARK: &str = "epitome-bundle";

/// An address that a bundle may be put at.
#[derive(Clone, Debug)]
pub struct Destination {
    uri: S3Uri,
    condition: Condition,
}

impl Destination {
    /// The address of the archive.
    pub fn uri(&self) -> &S3Uri {
        &self.uri
    }

    /// Whether an earlier bundle is there.
    pub fn has_bundle(&self) -> bool {
        matches!(self.condition, Condition::Version(_))
    }
}

impl S3 {
    /// Looks whether a bundle may be put at an address: of an archive, or of a folder that gets a
    /// `model.tar.gz`. As on the disk, an earlier bundle is replaced and anything else is left
    /// alone, whenever it came.
    ///
    /// # Errors
    ///
    /// [`Error::DestinationName`], [`Error::DestinationExists`], and what stands in the way of
    /// looking.
    pub fn destination(&self, uri: &S3Uri, progress: &dyn Progress) -> Result<Destination> {
        let uri = match uri.is_folder() {
            true => uri.join(ARCHIVE),
            false => uri.clone(),
        };
        if !uri.key().ends_with(SUFFIX) {
            return Err(Error::DestinationName { uri });
        }
        let condition = self.wait(progress, async {
            let found = match head(self, &uri).await {
                Ok(found) => found,
                // Without s3:ListBucket what does not exist is denied; writing may be allowed.
                Err(Error::NoSuchKey { .. } | Error::Denied { .. }) => return Ok(Condition::None),
                Err(error) => return Err(error),
            };
            let is_bundle = found
                .metadata()
                .is_some_and(|marks| marks.contains_key(MARK));
            match found.e_tag {
                Some(etag) if is_bundle => Ok(Condition::Version(etag)),
                _ => Err(Error::DestinationExists { uri: uri.clone() }),
            }
        })?;
        Ok(Destination { uri, condition })
    }

    /// Packs the bundle in `folder`, with its files at the top of the archive, and puts it.
    ///
    /// The same files make the same archive. It is packed while it is sent, and the object appears
    /// when it is whole; after an error or an interruption nothing is left of it.
    ///
    /// # Errors
    ///
    /// What stands in the way of reading or sending; [`Error::DestinationChanged`] if somebody
    /// else wrote the object since `destination` was looked at.
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
            condition: &destination.condition,
            content_type: "application/gzip",
            mark: Some((MARK, env!("CARGO_PKG_VERSION").to_owned())),
            // Deflate adds five bytes to a block that it cannot compress, tar up to two blocks.
            bytes: total + total / 1000 + 4096 * (files.len() as u64 + 1),
        };
        progress.start(&format!("Sending {}", destination.uri), Total::Bytes(total));
        let mut upload = Upload::new(self, put, progress);
        pack(&files, &mut upload, progress)?;
        upload.finish()
    }

    /// Puts a file as it is, in place of whatever was there.
    ///
    /// # Errors
    ///
    /// What stands in the way of reading or sending; nothing is left of the object then.
    pub fn put_file(&self, path: &Path, uri: &S3Uri, progress: &dyn Progress) -> Result<()> {
        let file = PlainFile::at(path.to_owned())?;
        let put = Put {
            uri,
            condition: &Condition::Any,
            content_type: "application/octet-stream",
            mark: None,
            bytes: file.bytes,
        };
        progress.start(&format!("Sending {uri}"), Total::Bytes(file.bytes));
        let mut upload = Upload::new(self, put, progress);
        let mut reader = file.open(progress)?;
        io::copy(&mut reader, &mut upload).map_err(|error| file.error(error))?;
        upload.finish()
    }
}

/// A file that is sent.
struct PlainFile {
    path: PathBuf,
    bytes: u64,
}

impl PlainFile {
    fn at(path: PathBuf) -> Result<Self> {
        let metadata = fs::metadata(&path).map_err(|error| Error::io(&path, error))?;
        Ok(Self {
            bytes: metadata.len(),
            path,
        })
    }

    fn open<'a>(&self, progress: &'a dyn Progress) -> Result<Reported<'a>> {
        let file = File::open(&self.path).map_err(|error| Error::io(&self.path, error))?;
        Ok(Reported { file, progress })
    }

    /// What stopped the copying of the file: itself, or where it was sent.
    fn error(&self, error: io::Error) -> Error {
        let own = error.downcast::<Error>();
        own.unwrap_or_else(|error| Error::io(&self.path, error))
    }
}

/// Reads a file, reports how far it is, and stops when the user asks for it.
struct Reported<'a> {
    file: File,
    progress: &'a dyn Progress,
}

impl Read for Reported<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.progress.cancelled() {
            return Err(io::Error::other(Error::Interrupted));
        }
        let count = self.file.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
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

/// Writes a gzipped tar in which nothing depends on when and where it was made.
fn pack(files: &[PlainFile], out: &mut dyn Write, progress: &dyn Progress) -> Result<()> {
    // Weights hardly compress: more effort would only take longer.
    let gzip = GzBuilder::new().mtime(0).write(out, Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.bytes);
        header.set_mode(0o644);
        // Not zero, which tar takes for a mistake and warns of: the value that the crate uses.
        header.set_mtime(1_153_704_088);
        let name = file.path.file_name().unwrap_or_default();
        let mut reader = file.open(progress)?.take(file.bytes);
        tar.append_data(&mut header, name, &mut reader)
            .map_err(|error| file.error(error))?;
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
