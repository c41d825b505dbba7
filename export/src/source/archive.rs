//! Unpacks the files of a `model.tar.gz` that a conversion needs.
//!
//! The archive is a stream, and the folder of the model is known only at its end. So all files that
//! may belong to a checkpoint are written, except those of training steps (`checkpoint-500/`),
//! which repeat the model. The archive is read again for the latest of them if there is no other
//! model, and also if a file of the model is a link to another entry. Other entries are skipped,
//! whatever they are: a pipe, a device, a sparse file, a broken link.
//!
//! No path of the archive is ever used on the disk: a file is written under its own name, from a
//! fixed list, into a numbered folder.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::{self, BufReader, Chain, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use epitome_runtime::progress::{Progress, ProgressReader, Total};
use sha2::{Digest, Sha256};

use super::digest::hex;
use super::gzip::Members;
use super::links::Links;
use super::select::{Folders, Selection, is_code, select, training_step};
use super::tar::{self, Entry, Fault, Kind, TarStream};
use crate::checkpoint::{is_part, is_telling};
use crate::{Error, Result};

/// An archive, in a file or elsewhere.
pub trait Packed {
    /// Name of the archive for messages.
    fn path(&self) -> &Path;

    /// Opens the archive for reading from the first byte. May be called twice.
    ///
    /// The reader reports to `progress`. If it has an error of its own, that is inside an
    /// [`io::Error`] of kind [`io::ErrorKind::Other`].
    ///
    /// # Errors
    ///
    /// The archive cannot be opened.
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
        let interrupted = || io::Error::other(Error::Interrupted);
        Ok(Box::new(ProgressReader::new(file, progress, interrupted)))
    }
}

/// Limits of an archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Number of headers. A training job leaves a few dozen files, and a long one with a checkpoint
    /// for each epoch a few thousand.
    pub(super) headers: u64,
    /// Ratio of unpacked to packed size. Trained weights hardly compress (1.1); DEFLATE reaches at
    /// most 1032, for zeros.
    pub(super) ratio: u64,
    /// Unpacked size in bytes below which the ratio is ignored.
    pub(super) harmless: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { headers: 100_000, ratio: 200, harmless: 1 << 30 }
    }
}

/// Limit in bytes of the paths that are kept until the end of an archive: of links and of files of
/// models.
const MAX_NAMES: usize = 16 << 20;

/// The model of an archive, unpacked.
pub(super) struct Unpacked {
    /// The selected folders of the archive.
    pub(super) selection: Selection,
    /// The folder that each was unpacked to.
    pub(super) places: BTreeMap<String, PathBuf>,
    /// The SHA-256 digest of the archive, in hexadecimal digits.
    pub(super) digest: String,
}

/// An archive to be unpacked.
pub(super) struct Archive<'a> {
    pub(super) packed: &'a dyn Packed,
    pub(super) progress: &'a dyn Progress,
    pub(super) limits: Limits,
}

/// Result of one pass over the archive.
#[derive(Default)]
struct Pass {
    folders: Folders,
    /// The folder that the files of each folder were written to.
    written: BTreeMap<String, PathBuf>,
    /// The file that the target of each link was written to.
    targets: BTreeMap<String, PathBuf>,
    links: Links,
    /// Entries that cannot be read in place of files of a model: the problem by path.
    obstacles: BTreeMap<String, String>,
    digest: String,
}

impl Archive<'_> {
    /// Unpacks the model into folders below `scratch`, which must be empty.
    pub(super) fn unpack(&self, scratch: &Path) -> Result<Unpacked> {
        let first = |folder: &str| training_step(folder).is_none();
        let mut pass = self.read(scratch, &first, &BTreeSet::new())?;
        let selection = match select(self.packed.path(), &pass.folders) {
            Ok(selection) => selection,
            // An entry that cannot be read is a better explanation than that it is missing.
            Err(error) => return Err(self.obstacle(&pass, |_| true).unwrap_or(error)),
        };
        let selected = selection.folders();
        if let Some(refused) = self.obstacle(&pass, |folder| selected.contains(folder)) {
            return Err(refused);
        }
        let used = selection.files(&pass.folders);
        let links: Vec<(String, String)> = pass
            .links
            .resolved()
            .filter(|(path, _)| used.contains(&split(path)))
            .filter_map(|(path, target)| Some((path.to_owned(), target?.to_owned())))
            .collect();
        let targets: BTreeSet<String> = links.iter().map(|(_, target)| target.clone()).collect();
        if !targets.is_empty() || selected.iter().any(|folder| !pass.written.contains_key(*folder))
        {
            pass.remove(|_| true)?;
            pass = self.read(scratch, &|folder| selected.contains(folder), &targets)?;
        }
        for (path, target) in links {
            let (folder, name) = split(&path);
            let place = scratch.join(format!("linked-{}", pass.written.len()));
            let place = pass.written.entry(folder.to_owned()).or_insert(place);
            fs::create_dir_all(&*place).map_err(|error| Error::io(place, error))?;
            if let Some(file) = pass.targets.get(&target) {
                let link = place.join(name);
                let _ = fs::remove_file(&link);
                fs::hard_link(file, &link).map_err(|error| Error::io(&link, error))?;
            }
        }
        // Other folders are no longer needed.
        pass.remove(|folder| !selected.contains(folder))?;
        // The archive may have changed before the second pass.
        if selected.iter().any(|folder| !pass.written.contains_key(*folder)) {
            return Err(Error::MissingConfig { path: self.packed.path().to_owned() });
        }
        Ok(Unpacked { places: pass.written, digest: pass.digest, selection })
    }

    /// Reads the whole archive once. Writes the files of a checkpoint in `wanted` folders, and the
    /// files `targets`.
    fn read(
        &self,
        scratch: &Path,
        wanted: &dyn Fn(&str) -> bool,
        targets: &BTreeSet<String>,
    ) -> Result<Pass> {
        let mut tar = TarStream::new(self.open()?);
        let mut pass = Pass::default();
        // Stores hashes, since the names could take much memory.
        let (state, mut files) = (RandomState::new(), HashSet::new());
        let mut kept = 0;
        loop {
            let entry = tar.next().map_err(|fault| self.error(fault))?;
            if tar.headers() > self.limits.headers {
                return Err(self.limit(format!("it has more than {} entries", self.limits.headers)));
            }
            let Some(entry) = entry else { break };
            let parts =
                parts(&entry.path, None).map_err(|problem| self.refused(&entry.path, problem))?;
            let path = parts.join("/");
            let (folder, name) = split(&path);
            let telling = !is_code(folder) && is_telling(name);
            let needed = telling && is_part(name);
            kept += if telling { path.len() } else { 0 };
            match &entry.kind {
                Kind::Folder => {}
                Kind::File => {
                    files.insert(state.hash_one(&path));
                    pass.links.remove(&path);
                    pass.obstacles.remove(&path);
                    if targets.contains(&path) {
                        let next = scratch.join(format!("target-{}", pass.targets.len()));
                        let target = pass.targets.entry(path.clone()).or_insert(next).clone();
                        self.write(&mut tar, &target)?;
                        if needed && wanted(folder) {
                            let place = pass.place(scratch, folder)?.join(name);
                            let _ = fs::remove_file(&place);
                            fs::hard_link(&target, &place)
                                .map_err(|error| Error::io(&place, error))?;
                        }
                    } else if needed && wanted(folder) {
                        let place = pass.place(scratch, folder)?.join(name);
                        self.write(&mut tar, &place)?;
                    }
                    if telling {
                        let names = pass.folders.entry(folder.to_owned()).or_default();
                        names.insert(name.to_owned());
                    }
                }
                Kind::SymbolicLink(_) | Kind::HardLink(_) => match link_target(&entry, &parts) {
                    Ok(target) => {
                        kept += path.len() + target.len();
                        pass.links.insert(path, target);
                    }
                    Err(problem) if needed => {
                        pass.obstacles.insert(path, problem.to_owned());
                    }
                    Err(_) => {}
                },
                Kind::Other(what) if needed => {
                    pass.obstacles.insert(path, format!("is {what}, not a file"));
                }
                Kind::Other(_) => {}
            }
            if kept > MAX_NAMES {
                return Err(
                    self.limit("it names more files and links than any model has".to_owned())
                );
            }
        }
        let contents = tar.finish().map_err(|fault| self.error(fault))?;
        pass.digest = contents.into_digest().map_err(|error| self.error(error.into()))?;
        let found = |target: &&str| files.contains(&state.hash_one(*target));
        for (path, target) in pass.links.resolved() {
            let (folder, name) = split(path);
            if is_code(folder) || !is_telling(name) {
                continue;
            }
            if target.filter(found).is_some() {
                let names = pass.folders.entry(folder.to_owned()).or_default();
                names.insert(name.to_owned());
            } else if is_part(name) {
                let problem = "is a link to something that is not a file of the archive: pack the \
                               files themselves (tar --dereference --hard-dereference)";
                pass.obstacles.insert(path.to_owned(), problem.to_owned());
            }
        }
        Ok(pass)
    }

    /// Why a file of the folders `of` cannot be read, if that is so.
    fn obstacle(&self, pass: &Pass, of: impl Fn(&str) -> bool) -> Option<Error> {
        let found = pass.obstacles.iter().find(|(path, _)| of(split(path).0));
        found.map(|(path, problem)| self.refused(path.as_bytes(), problem))
    }

    fn refused(&self, path: &[u8], problem: &str) -> Error {
        Error::RefusedEntry {
            path: self.packed.path().to_owned(),
            entry: shown(path),
            problem: problem.to_owned(),
        }
    }

    /// Opens the archive in the format of its contents, whatever its name.
    fn open(&self) -> Result<Contents<'_>> {
        let mut metered =
            Metered { reader: self.packed.open(self.progress)?, sha256: Sha256::new(), bytes: 0 };
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
            true => Decoder::Gzip(Box::new(Members::new(reader))),
            false => Decoder::Plain(reader),
        };
        Ok(Contents { decoder, unpacked: 0, limits: self.limits, path: self.packed.path() })
    }

    /// Writes the contents of the current entry to a file.
    fn write(&self, tar: &mut TarStream<Contents<'_>>, path: &Path) -> Result<()> {
        // If an archive has a file twice, as after appending, the last one counts. The first may
        // share its contents with a link.
        let _ = fs::remove_file(path);
        let mut file = File::create(path).map_err(|error| Error::io(path, error))?;
        let written = tar.contents(|piece| file.write_all(piece).map_err(Stop::Write));
        written.map_err(|stop| match stop {
            Stop::Write(error) => Error::io(path, error),
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
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Error::DamagedArchive { path, problem: error.to_string() }
            }
            _ => Error::of_stream(&path, error),
        }
    }

    fn limit(&self, problem: String) -> Error {
        Error::ArchiveLimit { path: self.packed.path().to_owned(), problem }
    }

    fn not_an_archive(&self, found: &str) -> Error {
        Error::NotAnArchive { path: self.packed.path().to_owned(), found: found.to_owned() }
    }
}

impl Pass {
    /// Creates the folder for the files of `folder`.
    fn place(&mut self, scratch: &Path, folder: &str) -> Result<PathBuf> {
        if let Some(place) = self.written.get(folder) {
            return Ok(place.clone());
        }
        let place = scratch.join(self.written.len().to_string());
        fs::create_dir(&place).map_err(|error| Error::io(&place, error))?;
        self.written.insert(folder.to_owned(), place.clone());
        Ok(place)
    }

    /// Removes the files of some folders, and the targets of links.
    fn remove(&mut self, of: impl Fn(&str) -> bool) -> Result<()> {
        for file in std::mem::take(&mut self.targets).into_values() {
            fs::remove_file(&file).map_err(|error| Error::io(&file, error))?;
        }
        let (removed, kept) =
            std::mem::take(&mut self.written).into_iter().partition(|(folder, _)| of(folder));
        self.written = kept;
        let removed: BTreeMap<String, PathBuf> = removed;
        for place in removed.into_values() {
            fs::remove_dir_all(&place).map_err(|error| Error::io(&place, error))?;
        }
        Ok(())
    }
}

/// The folder and the name of a path inside the archive.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The target of a link, as a path in the archive: relative to its folder if symbolic, to the root
/// if hard.
fn link_target(entry: &Entry, parts: &[String]) -> Result<String, &'static str> {
    let (target, folder) = match (&entry.kind, parts.split_last()) {
        (Kind::SymbolicLink(target), Some((_, folder))) => (target, folder),
        (Kind::SymbolicLink(target) | Kind::HardLink(target), _) => (target, &[][..]),
        _ => return Err("is not a link"),
    };
    let target = self::parts(target, Some(folder));
    let target = target.map_err(|_| {
        "is a link that leads out of the archive: pack the files themselves (tar --dereference \
         --hard-dereference)"
    });
    Ok(target?.join("/"))
}

/// Why an entry could not be written: because of the disk, or of the archive.
enum Stop {
    Write(io::Error),
    Read(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Read(fault)
    }
}

/// The parts of a path in the archive, or what is wrong with it.
///
/// The target of a link is relative to the folder `from`, and may go up as far as the archive's
/// root. The path of an entry may not go up. A backslash also separates parts, as on Windows.
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

/// An entry's path for messages.
fn shown(path: &[u8]) -> String {
    const LONGEST: usize = 200;
    let text = String::from_utf8_lossy(&path[..path.len().min(LONGEST)]);
    let mut shown: String = text.chars().flat_map(char::escape_debug).collect();
    if path.len() > LONGEST {
        shown.push('…');
    }
    shown
}

/// Kind of a file that is neither gzip nor tar, by its first bytes.
fn looks_like(begin: &[u8]) -> &'static str {
    const KNOWN: &[(&[u8], &str)] = &[
        (b"", "it is empty"),
        (b"PK\x03\x04", "it is a zip file, or weights by themselves"),
        (b"\x28\xb5\x2f\xfd", "it is compressed with zstd"),
        (b"\xfd7zXZ", "it is compressed with xz"),
        (b"BZh", "it is compressed with bzip2"),
        (b"\x80", "it is a pickle"),
        (b"GGUF", "it is a model of llama.cpp, whose weights are rounded already"),
        (b"version https://git-lfs", "it is a Git LFS pointer: run 'git lfs pull'"),
        (b"<", "it is a web page or XML, perhaps an error from where it was fetched"),
    ];
    KNOWN
        .iter()
        .find(
            |(magic, _)| {
                if magic.is_empty() { begin.is_empty() } else { begin.starts_with(magic) }
            },
        )
        .map_or("it begins like no archive", |(_, what)| what)
}

/// Reads the archive's bytes, hashes and counts them.
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

/// The bytes that were read to detect the format, and those that follow.
type Whole<'a> = BufReader<Chain<Cursor<Vec<u8>>, Metered<'a>>>;

enum Decoder<'a> {
    Plain(Whole<'a>),
    Gzip(Box<Members<Whole<'a>>>),
}

impl<'a> Decoder<'a> {
    fn packed(&self) -> &Metered<'a> {
        let whole = match self {
            Self::Plain(reader) => reader,
            Self::Gzip(decoder) => decoder.packed(),
        };
        whole.get_ref().get_ref().1
    }
}

/// The decompressed bytes of the archive, limited in their ratio.
struct Contents<'a> {
    decoder: Decoder<'a>,
    unpacked: u64,
    limits: Limits,
    path: &'a Path,
}

impl Contents<'_> {
    /// The digest of the whole file. The contents must be read to the end.
    fn into_digest(self) -> io::Result<String> {
        let mut whole = match self.decoder {
            Decoder::Plain(reader) => reader,
            Decoder::Gzip(decoder) => decoder.into_packed(),
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
        let Limits { ratio, harmless, .. } = self.limits;
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
