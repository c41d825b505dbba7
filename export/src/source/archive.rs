//! A `model.tar.gz` as a training job leaves it, unpacked as far as a conversion needs.
//!
//! The archive is one stream, and which folder has the model is only known at its end. So all files
//! that may belong to a checkpoint are written out, except those of training steps
//! (`checkpoint-500/`), which repeat the model; only when there is no other model is the archive
//! read once more for the latest of them.
//!
//! No path of the archive is ever used on the disk: a file is written under its own name, which is
//! one of a fixed list, into a folder that is numbered here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Chain, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use epitome_runtime::progress::{Progress, Total};
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::digest::hex;
use super::select::{Folders, best, is_code, training_step};
use super::tar::{self, Entry, Fault, Kind, TarStream};
use crate::checkpoint::{is_part, is_telling};
use crate::reported::Reported;
use crate::{Error, Result};

/// An archive's bytes, wherever they lie.
pub trait Packed {
    /// What messages call it.
    fn path(&self) -> &Path;

    /// The bytes from the first one on; they may be asked for a second time.
    ///
    /// Reading tells `progress` how far it is. Where the reader has more to say than an
    /// [`io::Error`] can, its own error is inside one of the kind [`io::ErrorKind::Other`].
    ///
    /// # Errors
    ///
    /// Why the archive cannot be opened.
    fn open<'a>(&'a self, progress: &'a dyn Progress) -> Result<Box<dyn Read + 'a>>;
}

/// An archive in a file.
pub(super) struct PackedFile<'a>(pub(super) &'a Path);

impl Packed for PackedFile<'_> {
    fn path(&self) -> &Path {
        self.0
    }

    fn open<'a>(&'a self, progress: &'a dyn Progress) -> Result<Box<dyn Read + 'a>> {
        let io = |error| Error::io(self.0, error);
        let file = File::open(self.0).map_err(io)?;
        let total = file.metadata().map_err(io)?.len();
        let name = self.0.file_name().unwrap_or_default().to_string_lossy();
        progress.start(&format!("Unpacking {name}"), Total::Bytes(total));
        Ok(Box::new(Reported::new(file, progress)))
    }
}

/// What an archive may ask for before it is refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Headers in the archive. A training job leaves a few dozen files, and a long one with a
    /// checkpoint for each epoch some thousands.
    pub(super) headers: u64,
    /// Times that an archive may be larger unpacked than packed. Trained weights hardly compress
    /// (1.1 times); DEFLATE cannot do better than 1032 times, which is what zeros reach.
    pub(super) ratio: u64,
    /// Unpacked bytes below which the ratio does not matter.
    pub(super) harmless: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers: 100_000,
            ratio: 200,
            harmless: 1 << 30,
        }
    }
}

/// The model of an archive, unpacked.
pub(super) struct Unpacked {
    /// The folder it was unpacked into.
    pub(super) root: PathBuf,
    /// The folder of the archive that it was in.
    pub(super) inside: String,
    /// The SHA-256 digest of the archive, in hexadecimal digits.
    pub(super) digest: String,
    /// The telling files of the folder, unpacked or not.
    pub(super) names: std::collections::BTreeSet<String>,
}

/// An archive to be unpacked.
pub(super) struct Archive<'a> {
    pub(super) packed: &'a dyn Packed,
    pub(super) progress: &'a dyn Progress,
    pub(super) limits: Limits,
}

/// What one reading of the archive found.
struct Pass {
    folders: Folders,
    /// Where the files of a folder were written, if any were.
    written: BTreeMap<String, PathBuf>,
    digest: String,
}

impl Archive<'_> {
    /// Unpacks the model into folders below `scratch`, which is empty before.
    pub(super) fn unpack(&self, scratch: &Path) -> Result<Unpacked> {
        let missing = || Error::MissingConfig {
            path: self.packed.path().to_owned(),
        };
        let mut pass = self.read(scratch, &|folder| training_step(folder).is_none())?;
        let inside = best(&pass.folders).ok_or_else(missing)?.to_owned();
        if training_step(&inside).is_some() {
            for folder in pass.written.values() {
                fs::remove_dir_all(folder).map_err(|error| Error::io(folder, error))?;
            }
            pass = self.read(scratch, &|folder| folder == inside)?;
        }
        let names = pass.folders.remove(&inside).ok_or_else(missing)?;
        let root = pass.written.remove(&inside).ok_or_else(missing)?;
        // Other folders that might have been the model only take up room now.
        for folder in pass.written.values() {
            fs::remove_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        }
        Ok(Unpacked {
            root,
            inside,
            digest: pass.digest,
            names,
        })
    }

    /// Reads the whole archive once and writes the files that belong to a checkpoint, of those
    /// folders that are `wanted`.
    fn read(&self, scratch: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Pass> {
        let mut tar = TarStream::new(self.open()?);
        let mut folders = Folders::new();
        let mut written = BTreeMap::new();
        loop {
            let entry = tar.next().map_err(|fault| self.error(fault))?;
            if tar.headers() > self.limits.headers {
                return Err(self.limit(format!("it has more than {} entries", self.limits.headers)));
            }
            let Some(entry) = entry else { break };
            let Some((folder, name)) = self.inspect(&entry)? else {
                continue;
            };
            if is_code(&folder) || !is_telling(&name) {
                continue;
            }
            if is_part(&name) && wanted(&folder) {
                let next = scratch.join(written.len().to_string());
                let target = written.entry(folder.clone()).or_insert(next);
                self.write(&mut tar, target, &name)?;
            }
            folders.entry(folder).or_default().insert(name);
        }
        let contents = tar.finish().map_err(|fault| self.error(fault))?;
        let digest = contents
            .into_digest()
            .map_err(|error| self.error(error.into()))?;
        Ok(Pass {
            folders,
            written,
            digest,
        })
    }

    /// Opens the archive, by what it is and not by what it is called.
    fn open(&self) -> Result<Contents<'_>> {
        let mut metered = Metered {
            reader: self.packed.open(self.progress)?,
            sha256: Sha256::new(),
            bytes: 0,
        };
        let mut begin = Vec::new();
        (&mut metered)
            .take(512)
            .read_to_end(&mut begin)
            .map_err(|error| self.error(error.into()))?;
        let zipped = begin.starts_with(&[0x1f, 0x8b]);
        if !zipped && !tar::is_header(&begin) {
            return Err(self.not_an_archive(looks_like(&begin)));
        }
        let whole = Cursor::new(begin).chain(metered);
        let reader = BufReader::with_capacity(256 << 10, whole);
        let decoder = match zipped {
            true => Decoder::Gzip(Box::new(MultiGzDecoder::new(reader))),
            false => Decoder::Plain(reader),
        };
        Ok(Contents {
            decoder,
            unpacked: 0,
            limits: self.limits,
            path: self.packed.path(),
        })
    }

    /// The folder and name of an entry that is a file; none if it is to be passed over. Anything
    /// that could do harm is refused, whether it would be used or not.
    fn inspect(&self, entry: &Entry) -> Result<Option<(String, String)>> {
        let refused = |problem: &str| Error::RefusedEntry {
            path: self.packed.path().to_owned(),
            entry: shown(&entry.path),
            problem: problem.to_owned(),
        };
        let mut parts = parts(&entry.path, None).map_err(refused)?;
        match &entry.kind {
            Kind::Folder => return Ok(None),
            Kind::Other(what) => {
                return Err(refused(&format!("is {what}, not a file or a folder")));
            }
            Kind::File => {}
            Kind::SymbolicLink(target) | Kind::HardLink(target) => {
                let folder: &[String] = match (&entry.kind, parts.split_last()) {
                    (Kind::SymbolicLink(_), Some((_, folder))) => folder,
                    _ => &[],
                };
                if self::parts(target, Some(folder)).is_err() {
                    return Err(refused("is a link that leads out of the archive"));
                }
                if parts.last().is_some_and(|name| is_part(name)) {
                    return Err(refused(
                        "is a link: pack the files themselves (tar --dereference --hard-dereference)",
                    ));
                }
                return Ok(None);
            }
        }
        let name = parts.pop();
        Ok(name.map(|name| (parts.join("/"), name)))
    }

    /// Writes the contents of the current entry as `folder/name`.
    fn write(&self, tar: &mut TarStream<Contents<'_>>, folder: &Path, name: &str) -> Result<()> {
        fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        let path = folder.join(name);
        // An archive that was appended to has a file twice, and the last one counts.
        let mut file = File::create(&path).map_err(|error| Error::io(&path, error))?;
        let written = tar.contents(|piece| file.write_all(piece).map_err(Stop::Write));
        written.map_err(|stop| match stop {
            Stop::Write(error) => Error::io(&path, error),
            Stop::Read(fault) => self.error(fault),
        })
    }

    fn error(&self, fault: Fault) -> Error {
        let path = self.packed.path().to_owned();
        let error = match fault {
            Fault::NotTar => return self.not_an_archive("a gzip file with no tar in it"),
            Fault::Damaged(problem) => return Error::DamagedArchive { path, problem },
            Fault::TooLong(problem) => return self.limit(format!("it {problem}")),
            Fault::Read(error) => error,
        };
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::TruncatedArchive { path },
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Error::DamagedArchive {
                path,
                problem: error.to_string(),
            },
            _ => Error::of_stream(&path, error),
        }
    }

    fn limit(&self, problem: String) -> Error {
        Error::ArchiveLimit {
            path: self.packed.path().to_owned(),
            problem,
        }
    }

    fn not_an_archive(&self, found: &str) -> Error {
        Error::NotAnArchive {
            path: self.packed.path().to_owned(),
            found: found.to_owned(),
        }
    }
}

/// Why an entry could not be written: the disk, or the archive.
enum Stop {
    Write(io::Error),
    Read(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Read(fault)
    }
}

/// The parts of a path inside the archive, or what is wrong with it.
///
/// A link's target is given the folder that it counts from, and may go up as far as the archive's
/// root; the path of an entry may not go up at all. A backslash separates parts as well, as it would
/// on Windows.
fn parts(path: &[u8], from: Option<&[String]>) -> Result<Vec<String>, &'static str> {
    const OUT: &str = "leads out of the archive by '..'";
    let path = String::from_utf8_lossy(path);
    let drive = matches!(path.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if path.starts_with(['/', '\\']) || drive {
        return Err("has an absolute path");
    }
    let mut parts = from.unwrap_or_default().to_vec();
    for part in path.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." if from.is_none() => return Err(OUT),
            ".." => {
                parts.pop().ok_or(OUT)?;
            }
            part => parts.push(part.to_owned()),
        }
    }
    Ok(parts)
}

/// An entry's path fit for a message.
fn shown(path: &[u8]) -> String {
    const LONGEST: usize = 200;
    let text = String::from_utf8_lossy(&path[..path.len().min(LONGEST)]);
    let mut shown: String = text.chars().flat_map(char::escape_debug).collect();
    if path.len() > LONGEST {
        shown.push('…');
    }
    shown
}

/// What a file is that is neither gzip nor tar, by how it begins.
fn looks_like(begin: &[u8]) -> &'static str {
    const KNOWN: &[(&[u8], &str)] = &[
        (b"", "it is empty"),
        (b"PK\x03\x04", "it is a zip file, or weights by themselves"),
        (b"\x28\xb5\x2f\xfd", "it is compressed with zstd"),
        (b"\xfd7zXZ", "it is compressed with xz"),
        (b"BZh", "it is compressed with bzip2"),
        (b"\x80", "it is a pickle"),
        (
            b"version https://git-lfs",
            "it is a Git LFS pointer: run 'git lfs pull'",
        ),
        (
            b"<",
            "it is a web page or XML, perhaps an error from where it was fetched",
        ),
    ];
    KNOWN
        .iter()
        .find(|(magic, _)| {
            if magic.is_empty() {
                begin.is_empty()
            } else {
                begin.starts_with(magic)
            }
        })
        .map_or("it begins like no archive", |(_, what)| what)
}

/// The archive's bytes as they come: hashed and counted on the way.
struct Metered<'a> {
    reader: Box<dyn Read + 'a>,
    sha256: Sha256,
    bytes: u64,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.sha256.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// The bytes that told what the archive is, and those that follow.
type Whole<'a> = BufReader<Chain<Cursor<Vec<u8>>, Metered<'a>>>;

enum Decoder<'a> {
    Plain(Whole<'a>),
    Gzip(Box<MultiGzDecoder<Whole<'a>>>),
}

impl<'a> Decoder<'a> {
    fn packed(&self) -> &Metered<'a> {
        let whole = match self {
            Self::Plain(reader) => reader,
            Self::Gzip(decoder) => decoder.get_ref(),
        };
        whole.get_ref().get_ref().1
    }
}

/// The archive's bytes decompressed, as far as they stay in proportion.
struct Contents<'a> {
    decoder: Decoder<'a>,
    unpacked: u64,
    limits: Limits,
    path: &'a Path,
}

impl Contents<'_> {
    /// The digest of the whole file, when its contents were read to the end.
    fn into_digest(self) -> io::Result<String> {
        let mut whole = match self.decoder {
            Decoder::Plain(reader) => reader,
            Decoder::Gzip(decoder) => decoder.into_inner(),
        };
        io::copy(&mut whole, &mut io::sink())?;
        let (_, metered) = whole.into_inner().into_inner();
        Ok(hex(&metered.sha256.finalize()))
    }
}

impl Read for Contents<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.decoder {
            Decoder::Plain(reader) => reader.read(buffer)?,
            Decoder::Gzip(decoder) => decoder.read(buffer)?,
        };
        self.unpacked += count as u64;
        let Limits {
            ratio, harmless, ..
        } = self.limits;
        if self.unpacked > harmless && self.unpacked / ratio > self.decoder.packed().bytes {
            return Err(io::Error::other(Error::ArchiveLimit {
                path: self.path.to_owned(),
                problem: format!(
                    "it unpacks to more than {ratio} times its size, which no model does"
                ),
            }));
        }
        Ok(count)
    }
}
