//! Files of one commit in the cache: complete, partial and new ones.

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

/// Size of a read in bytes.
const CHUNK: usize = 256 << 10;
/// Limit of consecutive attempts without progress.
const MAX_TRIES: u32 = 5;
/// Delay before the second attempt. It doubles for each further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Interval of checks for cancellation while waiting.
const TICK: Duration = Duration::from_millis(50);
/// Number of hexadecimal digits of a SHA-256, the name of the blob of a large file.
const SHA256_DIGITS: usize = 64;
/// Tells backup programs that this folder is a cache: <https://bford.info/cachedir/>.
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

/// The hub's description of a file.
struct Description {
    /// Name of the blob.
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

    /// The model's folder in the cache, created if necessary.
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

    /// Stores the commit of a branch or tag.
    pub(super) fn remember(&self, revision: &str) -> Result<()> {
        let path = self.folder.join("refs").join(revision);
        let known = || fs::read_to_string(&path).is_ok_and(|commit| commit == self.commit);
        match revision == self.commit || known() {
            true => Ok(()),
            false => write(&path, self.commit),
        }
    }

    /// Fetches a file that is missing. `listed` is its size in the list of files.
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
            // Without a size, an empty file could not be told from an error.
            None if listed == 0 => return Err(not_the_hub(url, "a file has no size")),
            None => listed,
        };
        Ok(Description { etag, size })
    }

    /// Takes the lock of a blob, which the Python library also uses.
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
                // Some file systems do not support locks.
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

    /// Links the blob into the folder of the commit.
    fn link(&self, name: &str, blob: &Path) -> Result<()> {
        let path = self.snapshot().join(name);
        make(path.parent().unwrap_or(&path))?;
        let io = |error| in_cache(&path, error);
        // An existing link is broken, or `has` had found the file.
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
        // On Windows only administrators may create symbolic links.
        #[cfg(not(unix))]
        fs::hard_link(blob, &path).or_else(|_| fs::copy(blob, &path).map(drop)).map_err(io)
    }
}

/// A download of a file.
struct Download<'r> {
    repository: &'r Repository<'r>,
    name: &'r str,
    url: &'r str,
    file: &'r Description,
}

impl Download<'_> {
    /// Downloads the rest of the file at `path`, resumes it when it breaks off, and verifies it.
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

    /// Appends the data of one connection. [`Error::Io`] is an error of the disk.
    fn receive(&self, file: &mut File, have: &mut u64, progress: &dyn Progress) -> Result<()> {
        let disk = |source| Error::Io { path: PathBuf::new(), source };
        let Repository { client, id, .. } = self.repository;
        let answer = client.get(id, self.url, Wanted::From(*have))?;
        if *have > 0 && !continues(&answer, *have) {
            // The answer is not the rest of the file: begins again.
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

    /// Verifies the digest, if the name of the blob is one.
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
        // The file is damaged, so that it must not be resumed.
        fs::remove_file(path).map_err(|error| in_cache(path, error))?;
        Err(self.damaged(format!("its SHA-256 is {found}, and the hub says {etag}")))
    }

    fn damaged(&self, problem: String) -> Error {
        Error::Damaged { file: self.name.to_owned(), problem }
    }
}

/// Whether an answer is the rest of a file from the byte `from` on.
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

/// Waits, unless the user cancels.
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
