//! Sources of models: a checkpoint folder, or the `model.tar.gz` of a training job. For those on a
//! server, [`Packed`] or [`RemoteFolder`], and [`Origin`], can be implemented.
//!
//! An archive is what SageMaker packs at the end of a job: the model's files at the top or in a
//! folder, beside `checkpoint-500/`, `code/`, `training_args.bin`, metrics and others, which are
//! not unpacked. The model is unpacked into a temporary folder that is removed with the [`Source`],
//! and after any error.
//!
//! Entries that would write elsewhere, and archives with an extreme compression ratio, are refused:
//! see [`Error`].

mod archive;
mod digest;
mod gzip;
mod links;
mod remote;
mod select;
mod tar;
mod within;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use epitome_runtime::progress::{Progress, Total};
use epitome_runtime::scratch;
use serde::Serialize;

use archive::{Archive, Limits, PackedFile};
use digest::FolderDigest;
use select::{Folders, Selection};
use within::within;

pub use archive::Packed;
pub use remote::RemoteFolder;

use crate::adapter;
use crate::checkpoint::{Checkpoint, file_names};
use crate::hub_cache::{Cache, ModelId};
use crate::{Error, Result};

/// Depth of the search for the model.
const MAX_DEPTH: usize = 2;

/// Limit of folders in the search.
const MAX_FOLDERS: usize = 10_000;

/// A place that a model can be opened from: a path, or an address.
pub trait Origin {
    /// Opens the model; see [`Source::open`].
    ///
    /// # Errors
    ///
    /// [`Error`] says why there is no model, or why it cannot be read.
    fn open(&self, scratch: Option<&Path>, progress: &dyn Progress) -> Result<Source>;
}

impl<P: AsRef<Path> + ?Sized> Origin for P {
    fn open(&self, scratch: Option<&Path>, progress: &dyn Progress) -> Result<Source> {
        Source::open(self.as_ref(), scratch, progress)
    }
}

/// The files of a model in folders: configuration and weights, the adapters to merge, the
/// tokenizer.
///
/// Unpacked files are removed when the source is dropped.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    model: Option<PathBuf>,
    /// Folders of the adapters, in the order of merging.
    adapters: Vec<PathBuf>,
    tokenizer: Option<PathBuf>,
    target_tokenizer: Option<PathBuf>,
    digest: String,
    description: Description,
    _scratch: Vec<scratch::Folder>,
}

/// Description of a source, without the path on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// Folder or archive.
    pub kind: Kind,
    /// Name of the folder or file.
    pub name: String,
    /// Folder of the model inside it, with `/` between its parts; empty for the top.
    pub inside: String,
}

/// Kind of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A `.tar.gz` or `.tar`.
    Archive,
    /// A folder.
    Folder,
}

impl Source {
    /// Opens the model in `path`, a folder or an archive (by its content, whatever its name).
    ///
    /// An archive is unpacked into a temporary folder below `scratch`, or in the system's temporary
    /// folder. That one is in memory on some machines, so that a folder beside the output, which
    /// needs space for the model anyway, is the better choice.
    ///
    /// If several folders hold a model, the shallowest is used. Those of training steps
    /// (`checkpoint-500`) are used only if there is no other, and then the latest.
    ///
    /// ```no_run
    /// # fn main() -> epitome_export::Result<()> {
    /// use epitome_export::source::Source;
    ///
    /// let source = Source::open("model.tar.gz".as_ref(), None, &())?;
    /// let checkpoint = source.checkpoint()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(path: &Path, scratch: Option<&Path>, progress: &dyn Progress) -> Result<Self> {
        Self::open_within(path, scratch, progress, Limits::default())
    }

    fn open_within(
        path: &Path,
        scratch: Option<&Path>,
        progress: &dyn Progress,
        limits: Limits,
    ) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::NoSuchSource { path: path.to_owned() },
            _ => Error::io(path, error),
        })?;
        if metadata.is_dir() {
            return Self::open_folder(path, progress);
        }
        let archive = Archive { packed: &PackedFile(path), progress, limits };
        Self::unpack(&archive, name_of(path), scratch)
    }

    /// Unpacks the model of an archive.
    ///
    /// # Errors
    ///
    /// The errors of [`open`](Self::open), and of the reader of the archive.
    pub fn from_archive(
        packed: &dyn Packed,
        scratch: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let archive = Archive { packed, progress, limits: Limits::default() };
        Self::unpack(&archive, packed.path().display().to_string(), scratch)
    }

    /// Fetches the files that a conversion reads from a remote folder.
    ///
    /// # Errors
    ///
    /// The errors of [`open`](Self::open), and of the readers of the files.
    pub fn from_remote_folder(
        remote: &dyn RemoteFolder,
        scratch: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let files = remote.files();
        let folders = remote::folders(files, MAX_DEPTH);
        let selection = select::select(remote.path(), &folders)?;
        let used = selection.files(&folders);
        let sizes = used.iter().filter_map(|(folder, name)| files.get(&within(folder, name)));
        let name = remote.path().display().to_string();
        progress.start(&format!("Fetching {name}"), Total::Bytes(sizes.sum()));
        let scratch = scratch_folder(scratch)?;
        let mut places = BTreeMap::new();
        for (at, folder) in selection.folders().into_iter().enumerate() {
            let place = scratch.path().join(at.to_string());
            fs::create_dir(&place).map_err(|error| Error::io(&place, error))?;
            places.insert(folder.to_owned(), place);
        }
        let mut digest = FolderDigest::new();
        for (folder, name) in used {
            let (size, reader) = remote.open(&within(folder, name), progress)?;
            digest.begin(&digest_name(&selection, folder, name), size);
            remote::write(reader, &places[folder].join(name), &mut digest)?;
        }
        let described = (Kind::Folder, name);
        let place = |folder: &str| places[folder].clone();
        let digest = digest.finish();
        let path = remote.path();
        Ok(Self::new(path, &selection, place, digest, described, Some(scratch), progress))
    }

    fn unpack(archive: &Archive<'_>, name: String, scratch: Option<&Path>) -> Result<Self> {
        let scratch = scratch_folder(scratch)?;
        let unpacked = archive.unpack(scratch.path())?;
        let digest = format!("sha256:{}", unpacked.digest);
        let place = |folder: &str| unpacked.places[folder].clone();
        let described = (Kind::Archive, name);
        let (path, selection) = (archive.packed.path(), &unpacked.selection);
        let progress = archive.progress;
        Ok(Self::new(path, selection, place, digest, described, Some(scratch), progress))
    }

    fn open_folder(path: &Path, progress: &dyn Progress) -> Result<Self> {
        let mut folders = Folders::new();
        list(path, "", 0, &mut folders)?;
        let selection = select::select(path, &folders)?;
        let place = |folder: &str| path.join(folder);
        let used = selection.files(&folders).into_iter().map(|(folder, name)| {
            let shown = digest_name(&selection, folder, name);
            (shown, place(folder).join(name))
        });
        let digest = digest(used.collect(), progress)?;
        let described = (Kind::Folder, name_of(path));
        Ok(Self::new(path, &selection, place, digest, described, None, progress))
    }

    fn new(
        path: &Path,
        selection: &Selection,
        place: impl Fn(&str) -> PathBuf,
        digest: String,
        (kind, name): (Kind, String),
        scratch: Option<scratch::Folder>,
        progress: &dyn Progress,
    ) -> Self {
        if let Some(adapter) = &selection.passed_over {
            progress.note(&format!(
                "warning: the model is exported without the adapter in '{adapter}', which training \
                 saved on the way: where it is not merged yet, give that folder, and the model \
                 with --base"
            ));
        }
        let place = |folder: &Option<String>| folder.as_deref().map(&place);
        Self {
            path: path.to_owned(),
            model: place(&selection.model),
            adapters: place(&selection.adapter).into_iter().collect(),
            tokenizer: place(&selection.tokenizer),
            target_tokenizer: place(&selection.target_tokenizer),
            digest,
            description: Description { kind, name, inside: selection.main().to_owned() },
            _scratch: scratch.into_iter().collect(),
        }
    }

    /// Adds the base of the adapter: `base` if it is given. Otherwise, for a source that holds only
    /// an adapter, the base in the local cache of the Hugging Face hub.
    pub(crate) fn with_base(
        self,
        base: Option<&dyn Origin>,
        scratch: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let base = match (base, self.adapters.last()) {
            (Some(_), None) => return Err(Error::BaseWithoutAdapter { path: self.path }),
            (Some(base), Some(_)) => base.open(scratch, progress)?,
            (None, Some(adapter)) if self.model.is_none() => {
                let called = adapter::base_name(adapter)?;
                let Some(found) = in_hub_cache(&called) else {
                    return Err(Error::AdapterWithoutBase { path: self.path, base: called.name });
                };
                progress.note(&format!("The adapter's base is {}", found.display()));
                Self::open(&found, scratch, progress)?
            }
            (None, _) => return Ok(self),
        };
        if base.model.is_none() {
            return Err(Error::AdapterWithoutBase { path: base.path, base: None });
        }
        let mut digest = FolderDigest::new();
        for part in [&self, &base] {
            digest.begin(&part.description.name, part.digest.len() as u64);
            digest.update(part.digest.as_bytes());
        }
        Ok(Self {
            model: base.model,
            adapters: [base.adapters, self.adapters].concat(),
            tokenizer: self.tokenizer.or(base.tokenizer),
            target_tokenizer: self.target_tokenizer.or(base.target_tokenizer),
            digest: digest.finish(),
            _scratch: self._scratch.into_iter().chain(base._scratch).collect(),
            ..self
        })
    }

    /// Opens the model with its adapters merged.
    ///
    /// # Errors
    ///
    /// [`Error::AdapterWithoutBase`] if there is only an adapter, or an error of the files.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let Some(model) = &self.model else {
            return Err(Error::AdapterWithoutBase { path: self.path.clone(), base: None });
        };
        let mut checkpoint = Checkpoint::open(model)?;
        for adapter in &self.adapters {
            adapter::merge(&mut checkpoint, adapter)?;
        }
        Ok(checkpoint)
    }

    /// Sets the name, if the path says little.
    pub fn with_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.description.name);
        self
    }

    /// The folder with `config.json` and weights, or the adapter's folder if there is only an
    /// adapter.
    pub fn root(&self) -> &Path {
        let main = self.model.as_ref().or(self.adapters.last());
        main.expect("a source has a model or an adapter")
    }

    /// The folder with the tokenizer's files.
    pub fn tokenizer(&self) -> &Path {
        self.tokenizer.as_deref().unwrap_or_else(|| self.root())
    }

    /// The folder of another tokenizer for summaries.
    pub(crate) fn target_tokenizer(&self) -> Option<&Path> {
        self.target_tokenizer.as_deref()
    }

    /// `sha256:` and the digest: of the archive's bytes, or of the names and contents of the files
    /// of a folder that a conversion reads.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Description of the source, for the manifest.
    pub fn describe(&self) -> &Description {
        &self.description
    }
}

/// The files of a remote folder that a conversion reads, by path.
///
/// # Errors
///
/// There is no model in the folder.
pub fn files_read<'f>(path: &Path, files: &'f BTreeMap<String, u64>) -> Result<Vec<&'f str>> {
    let folders = remote::folders(files, MAX_DEPTH);
    let selection = select::select(path, &folders)?;
    let used = selection.files(&folders);
    let paths = used.iter().map(|(folder, name)| within(folder, name));
    Ok(paths.filter_map(|path| Some(files.get_key_value(&path)?.0.as_str())).collect())
}

/// The base of the adapter in `folder`, if its configuration names a model of the hub.
///
/// # Errors
///
/// The adapter's configuration is wrong.
pub fn adapter_base(folder: &Path) -> Result<Option<ModelId>> {
    Ok(hub_name(&adapter::base_name(folder)?))
}

fn hub_name(called: &adapter::BaseName) -> Option<ModelId> {
    ModelId::new(called.name.as_deref()?, called.revision.as_deref()).ok()
}

/// The base of an adapter in the local cache of the hub.
fn in_hub_cache(called: &adapter::BaseName) -> Option<PathBuf> {
    Cache::from_env()?.find(&hub_name(called)?)
}

/// A temporary folder below `parent`, or in the system's temporary folder.
fn scratch_folder(parent: Option<&Path>) -> Result<scratch::Folder> {
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
    scratch::Folder::new_in(&parent, ".epitome-unpacked-")
        .map_err(|error| Error::io(&parent, error))
}

/// Name of a file in the source's digest, which does not depend on the model's location.
fn digest_name(selection: &Selection, folder: &str, name: &str) -> String {
    match folder == selection.main() {
        true => name.to_owned(),
        false => within(folder, name),
    }
}

/// Adds the file names of `folder` and of its subfolders. Links to folders are not followed.
fn list(folder: &Path, inside: &str, depth: usize, folders: &mut Folders) -> Result<()> {
    folders.insert(inside.to_owned(), file_names(folder)?);
    if depth == MAX_DEPTH {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(|error| Error::io(folder, error))? {
        let entry = entry.map_err(|error| Error::io(folder, error))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
            continue;
        };
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && folders.len() < MAX_FOLDERS {
            // An unreadable folder does not hold the model.
            let _ = list(&entry.path(), &within(inside, name), depth + 1, folders);
        }
    }
    Ok(())
}

/// The [`FolderDigest`] of files, each with its name.
fn digest(named: Vec<(String, PathBuf)>, progress: &dyn Progress) -> Result<String> {
    let mut files = Vec::new();
    for (name, path) in named {
        let file = File::open(&path).map_err(|error| Error::io(&path, error))?;
        let size = file.metadata().map_err(|error| Error::io(&path, error))?.len();
        files.push((name, path, file, size));
    }
    let total = Total::Bytes(files.iter().map(|(.., size)| size).sum());
    progress.start("Reading the checkpoint", total);
    let mut digest = FolderDigest::new();
    let mut buffer = vec![0; 256 << 10];
    for (name, path, mut file, size) in files {
        digest.begin(&name, size);
        loop {
            if progress.cancelled() {
                return Err(Error::Interrupted);
            }
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    digest.update(&buffer[..count]);
                    progress.advance(count as u64);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(&path, error)),
            }
        }
    }
    Ok(digest.finish())
}

/// The last part of a path, also of `.` and `..`.
fn name_of(path: &Path) -> String {
    let whole = path.canonicalize();
    let name = path.file_name().or_else(|| whole.as_ref().ok()?.file_name());
    name.unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use tempfile::TempDir;

    use super::*;

    /// An archive of a model with this number of zeros.
    fn archive_of_zeros(zeros: usize) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut tar = ::tar::Builder::new(GzEncoder::new(&file, Compression::best()));
        let zeros = vec![0; zeros];
        let files: [(&str, &[u8]); 3] =
            [("config.json", b"{}"), ("pytorch_model.bin", &zeros), ("optimizer.pt", &zeros)];
        for (name, contents) in files {
            let mut header = ::tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            tar.append_data(&mut header, name, contents).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
        file
    }

    fn open(path: &Path, limits: Limits) -> String {
        let scratch = TempDir::new().unwrap();
        let opened = Source::open_within(path, Some(scratch.path()), &(), limits);
        let message = opened.map_or_else(|error| error.to_string(), |_| "opened".to_owned());
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
        message
    }

    #[test]
    fn an_archive_out_of_proportion_is_refused() {
        let archive = archive_of_zeros(1 << 20);
        let limits = Limits { harmless: 1 << 19, ..Limits::default() };
        let message = open(archive.path(), limits);
        assert!(message.contains("it unpacks to more than 200 times its size"), "{message}");
        // Skipped entries count as well, since they are decompressed.
        let limits = Limits { harmless: 3 << 19, ..Limits::default() };
        assert!(open(archive.path(), limits).contains("200 times"));
        assert_eq!(open(archive.path(), Limits::default()), "opened");
    }

    #[test]
    fn an_archive_of_too_many_entries_is_refused() {
        let archive = archive_of_zeros(10);
        let message = open(archive.path(), Limits { headers: 2, ..Limits::default() });
        assert!(message.ends_with("is refused: it has more than 2 entries"), "{message}");
        assert_eq!(open(archive.path(), Limits { headers: 3, ..Limits::default() }), "opened");
    }

    #[test]
    fn a_name_that_is_too_long_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut tar = ::tar::Builder::new(&file);
        let name = "folder/".repeat(tar::MAX_PATH as usize / 7 + 1);
        let mut header = ::tar::Header::new_gnu();
        header.set_size(0);
        tar.append_data(&mut header, name, std::io::empty()).unwrap();
        tar.finish().unwrap();
        let message = open(file.path(), Limits::default());
        assert!(message.contains("it has an entry with a name of 41"), "{message}");
    }
}
