//! The files of one commit in the cache: what is there, what broke off, what arrives.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use epitome_export::hub_cache::{Cache, ModelId, is_plain};
use epitome_runtime::Progress;
use epitome_runtime::bundle::digest;
use ureq::http::StatusCode;

use super::client::{Answer, Client, Wanted, not_the_hub};
use super::disk::{in_cache, write};
use crate::error::{Error, Result};

/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;
/// How often in a row a file may break off without a byte of it having arrived.
const MAX_TRIES: u32 = 5;
/// The wait before the second try; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// How often the user's Ctrl-C is looked for while waiting.
const TICK: Duration = Duration::from_millis(50);
/// Hexadecimal digits of a SHA-256, which names the blobs of large files.
const SHA256_DIGITS: usize = 64;
/// Says to backup programs that what is here can be fetched again: <https://bford.info/cachedir/>.
const CACHE_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
                         # A cache of models of the Hugging Face hub.\n";

/// One commit of a model, in the cache and on the hub.
pub(super) struct Repository<'h> {
    client: &'h Client,
    cache: &'h Cache,
    id: &'h ModelId,
    commit: &'h str,
    folder: PathBuf,
}

/// What the hub says about a file.
struct Description {
    /// Names the blob.
    etag: String,
    size: u64,
}

impl<'h> Repository<'h> {
    pub(super) fn new(
        client: &'h Client,
        cache: &'h Cache,
        id: &'h ModelId,
        commit: &'h str,
    ) -> Self {
        Self { client, cache, id, commit, folder: cache.folder(id) }
    }

    /// The folder of the model in the cache, made where it is not there yet.
    pub(super) fn folder(&self) -> Result<PathBuf> {
        make(&self.folder)?;
        let tag = self.cache.root().join("CACHEDIR.TAG");
        if !tag.exists() {
            write(&tag, CACHE_TAG)?;
        }
        Ok(self.folder.clone())
    }

    /// The folder with the files of the commit.
    pub(super) fn snapshot(&self) -> PathBuf {
        self.folder.join("snapshots").join(self.commit)
    }

    /// Whether a file is in the cache.
    pub(super) fn has(&self, name: &str) -> bool {
        self.snapshot().join(name).is_file()
    }

    /// Notes which commit a branch or tag is now.
    pub(super) fn remember(&self, revision: &str) -> Result<()> {
        let path = self.folder.join("refs").join(revision);
        let known = || fs::read_to_string(&path).is_ok_and(|commit| commit == self.commit);
        match revision == self.commit || known() {
            true => Ok(()),
            false => write(&path, self.commit),
        }
    }

    /// Fetches a file, unless it is there. `listed` is its size as the list of files has it.
    pub(super) fn fetch(&self, name: &str, listed: u64, progress: &dyn Progress) -> Result<()> {
        if self.has(name) {
            return Ok(());
        }
        let url = self.client.file(self.id, self.commit, name);
        let file = self.describe(&url, listed)?;
        let blobs = self.folder.join("blobs");
        make(&blobs)?;
        let blob = blobs.join(&file.etag);
        if blob.is_file() {
            progress.advance(file.size);
        } else {
            let _lock = self.lock(&file.etag, progress)?;
            // Another process may have fetched it in the meantime.
            if !blob.is_file() {
                let incomplete = blobs.join(format!("{}.incomplete", file.etag));
                let download = Download { repository: self, name, url: &url, file: &file };
                download.run(&incomplete, progress)?;
                fs::rename(&incomplete, &blob).map_err(|error| in_cache(&blob, error))?;
            }
        }
        self.link(name, &blob)
    }

    fn describe(&self, url: &str, listed: u64) -> Result<Description> {
        let answer = self.client.get(self.id, url, Wanted::Description)?;
        let etag = answer.header("x-linked-etag").or_else(|| answer.header("etag"));
        let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
        let etag = etag.filter(|etag| is_plain(etag) && !etag.contains('/'));
        let etag = etag.ok_or_else(|| not_the_hub(url, "a file has no ETag that can name it"))?;
        let is_redirect = answer.response.status().is_redirection();
        let length = answer.header("content-length").filter(|_| !is_redirect);
        let size = match answer.header("x-linked-size").or(length) {
            Some(size) => size
                .parse()
                .map_err(|_| not_the_hub(url, "the size of a file is no count of bytes"))?,
            // Where nothing says it, an empty file would pass for any other.
            None if listed == 0 => return Err(not_the_hub(url, "a file has no size")),
            None => listed,
        };
        Ok(Description { etag, size })
    }

    /// The lock of a blob, which the Python library takes as well.
    fn lock(&self, etag: &str, progress: &dyn Progress) -> Result<File> {
        let name = self.folder.file_name().unwrap_or_default();
        let folder = self.cache.root().join(".locks").join(name);
        make(&folder)?;
        let path = folder.join(format!("{etag}.lock"));
        let io = |error| in_cache(&path, error);
        let file = File::options().create(true).append(true).open(&path).map_err(io)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                // Some file systems have no locks.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(file);
                }
                Err(TryLockError::Error(error)) => return Err(io(error)),
                Err(TryLockError::WouldBlock) => {}
            }
            if !told {
                progress.note("Another process is fetching the same file: waiting for it");
                told = true;
            }
            wait(TICK, progress)?;
        }
    }

    /// Makes the blob a file of the commit.
    fn link(&self, name: &str, blob: &Path) -> Result<()> {
        let path = self.snapshot().join(name);
        make(path.parent().unwrap_or(&path))?;
        let io = |error| in_cache(&path, error);
        // What is there leads nowhere, or `has` had found it.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        #[cfg(unix)]
        {
            let depth = 2 + name.split('/').count() - 1;
            let etag = blob.file_name().unwrap_or_default();
            let target = Path::new(&"../".repeat(depth)).join("blobs").join(etag);
            std::os::unix::fs::symlink(target, &path).map_err(io)
        }
        // Links that lead elsewhere are for administrators there.
        #[cfg(not(unix))]
        fs::hard_link(blob, &path).or_else(|_| fs::copy(blob, &path).map(drop)).map_err(io)
    }
}

/// A file on its way.
struct Download<'r> {
    repository: &'r Repository<'r>,
    name: &'r str,
    url: &'r str,
    file: &'r Description,
}

impl Download<'_> {
    /// Fetches what is missing of the file at `path`, as often as it breaks off, and checks it.
    fn run(&self, path: &Path, progress: &dyn Progress) -> Result<()> {
        let io = |error| in_cache(path, error);
        let open = File::options().create(true).read(true).write(true).truncate(false).open(path);
        let mut file = open.map_err(io)?;
        let mut have = file.metadata().map_err(io)?.len();
        if have > self.file.size {
            have = restart(&mut file).map_err(io)?;
        }
        progress.advance(have);
        let mut tries = 0;
        while have < self.file.size {
            let before = have;
            let problem = match self.receive(&mut file, &mut have, progress) {
                Ok(()) if have >= self.file.size => break,
                Ok(()) => "it ended too early".to_owned(),
                Err(Error::Io { source, .. }) => return Err(io(source)),
                Err(error) if error.is_passing() => error.to_string(),
                Err(error) => return Err(error),
            };
            tries = if have > before { 1 } else { tries + 1 };
            if tries == MAX_TRIES {
                return Err(Error::BrokenOff { file: self.name.to_owned(), tries, problem });
            }
            wait(FIRST_WAIT * 2u32.pow(tries - 1), progress)?;
        }
        file.sync_all().map_err(io)?;
        self.check(path)
    }

    /// Appends what arrives on one connection. An error that is [`Error::Io`] is one of the disk.
    fn receive(&self, file: &mut File, have: &mut u64, progress: &dyn Progress) -> Result<()> {
        let disk = |source| Error::Io { path: PathBuf::new(), source };
        let Repository { client, id, .. } = self.repository;
        let answer = client.get(id, self.url, Wanted::From(*have))?;
        if *have > 0 && !continues(&answer, *have) {
            // It was not asked for the rest, or has none: from the beginning again.
            *have = restart(file).map_err(disk)?;
            if answer.response.status() != StatusCode::OK {
                return Ok(());
            }
        }
        file.seek(SeekFrom::Start(*have)).map_err(disk)?;
        let mut body = answer.response.into_body().into_reader();
        let mut buffer = vec![0; CHUNK];
        loop {
            if progress.cancelled() {
                return Err(Error::Interrupted);
            }
            let count = match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let host = self.repository.client.host();
                    return Err(Error::Unreachable { host, problem: error.to_string() });
                }
            };
            if count as u64 > self.file.size - *have {
                restart(file).map_err(disk)?;
                return Err(self.damaged("it is longer than the hub said".to_owned()));
            }
            file.write_all(&buffer[..count]).map_err(disk)?;
            *have += count as u64;
            progress.advance(count as u64);
        }
    }

    /// Compares the digest, where the name of the blob is one.
    fn check(&self, path: &Path) -> Result<()> {
        let etag = &self.file.etag;
        let is_sha256 =
            etag.len() == SHA256_DIGITS && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_sha256 {
            return Ok(());
        }
        let found = digest::file(path).map_err(|error| in_cache(path, error))?;
        if found.eq_ignore_ascii_case(etag) {
            return Ok(());
        }
        // Nothing of it is worth resuming.
        fs::remove_file(path).map_err(|error| in_cache(path, error))?;
        Err(self.damaged(format!("its SHA-256 is {found}, and the hub says {etag}")))
    }

    fn damaged(&self, problem: String) -> Error {
        Error::Damaged { file: self.name.to_owned(), problem }
    }
}

/// Whether an answer is the rest of a file from this byte on.
fn continues(answer: &Answer, from: u64) -> bool {
    let start = answer.header("content-range").and_then(|range| {
        let range = range.strip_prefix("bytes ")?;
        range.split('-').next()?.parse::<u64>().ok()
    });
    answer.response.status() == StatusCode::PARTIAL_CONTENT && start == Some(from)
}

fn restart(file: &mut File) -> io::Result<u64> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))
}

/// Waits, unless the user asks to stop.
fn wait(time: Duration, progress: &dyn Progress) -> Result<()> {
    let mut left = time;
    loop {
        if progress.cancelled() {
            return Err(Error::Interrupted);
        }
        if left.is_zero() {
            return Ok(());
        }
        let step = left.min(TICK);
        thread::sleep(step);
        left -= step;
    }
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| in_cache(folder, error))
}
