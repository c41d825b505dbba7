//! Temporary folders and files: they vanish with their owner. Where a signal ends the process, they
//! vanish with it if the program answers the signal with [`remove_all_and_exit`], as the command
//! line does. The Python module does not. [`exit_at_once`] ends a process whose threads work. A
//! [`BundleFolder`] that a killed process leaves is removed by the next one.

mod bundle_folder;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use bundle_folder::BundleFolder;
use tempfile::{NamedTempFile, TempDir};

/// What is there now.
static HELD: Held = Held(Mutex::new(BTreeSet::new()));

/// Removes all that is there. For the end of a program whose owners do not get to it.
pub fn remove_all() {
    remove(&HELD.paths());
}

/// Removes all that is there, and ends the process. For a handler of signals: until the end, other
/// threads make nothing new, and whoever loses a file waits.
pub fn remove_all_and_exit(code: i32) -> ! {
    let held = HELD.paths();
    remove(&held);
    exit_at_once(code)
}

/// Ends the process while its other threads work: no destructor of a library runs. Those of ONNX
/// Runtime would take away what a thread that loads a model reads.
pub fn exit_at_once(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: `_exit` takes any number, and touches no memory of the process.
    unsafe {
        libc::_exit(code)
    }
    // Windows ends the other threads first.
    #[cfg(not(unix))]
    std::process::exit(code)
}

/// Does work that no signal may cut in two: [`remove_all_and_exit`] waits for it. The work must not
/// make or drop anything of this module, which would wait for itself.
pub fn uninterrupted<T>(work: impl FnOnce() -> T) -> T {
    let _held = HELD.paths();
    work()
}

/// A temporary folder.
#[derive(Debug)]
pub struct Folder {
    folder: TempDir,
    _hold: Hold,
}

impl Folder {
    /// A new folder in `parent`, whose name begins with `prefix`.
    ///
    /// # Errors
    ///
    /// Why the system makes no folder there.
    pub fn new_in(parent: &Path, prefix: &str) -> Result<Self> {
        let mut held = HELD.paths();
        let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
        let hold = Hold::among(&mut held, folder.path());
        Ok(Self { folder, _hold: hold })
    }

    /// A new folder in the system's folder of temporary files.
    ///
    /// # Errors
    ///
    /// As [`Folder::new_in`].
    pub fn new(prefix: &str) -> Result<Self> {
        Self::new_in(&std::env::temp_dir(), prefix)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A temporary file.
#[derive(Debug)]
pub struct File {
    file: NamedTempFile,
    _hold: Hold,
}

impl File {
    /// A new file in the system's folder of temporary files, whose name begins with `prefix`. Only
    /// this user can read it.
    ///
    /// # Errors
    ///
    /// Why the system makes no file there.
    pub fn new(prefix: &str) -> Result<Self> {
        Self::build(tempfile::Builder::new().prefix(prefix), &std::env::temp_dir())
    }

    /// A new file in `parent`, whose name begins with `prefix`. Its permissions are those of any
    /// new file, since it is to stay there under another name.
    ///
    /// # Errors
    ///
    /// Why the system makes no file there.
    pub(crate) fn to_keep_in(parent: &Path, prefix: &str) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(prefix);
        // The system takes away what the umask forbids.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        Self::build(&builder, parent)
    }

    fn build(builder: &tempfile::Builder<'_, '_>, parent: &Path) -> Result<Self> {
        let mut held = HELD.paths();
        let file = builder.tempfile_in(parent)?;
        let hold = Hold::among(&mut held, file.path());
        Ok(Self { file, _hold: hold })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The open file.
    pub fn as_file_mut(&mut self) -> &mut fs::File {
        self.file.as_file_mut()
    }

    /// Gives it the name `path`, for good; a file there is replaced.
    ///
    /// # Errors
    ///
    /// Why the system refuses; the temporary file is gone then.
    pub fn persist(self, path: &Path) -> Result<()> {
        self.file.persist(path)?;
        Ok(())
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}

/// Has a file or folder removed where a signal ends the process, for as long as this lives.
#[derive(Debug)]
pub struct Hold(PathBuf);

impl Hold {
    /// For this path. What is to be there is made afterwards, in [`uninterrupted`].
    pub fn new(path: &Path) -> Self {
        Self::among(&mut HELD.paths(), path)
    }

    fn among(held: &mut BTreeSet<PathBuf>, path: &Path) -> Self {
        let path = absolute(path);
        held.insert(path.clone());
        Self(path)
    }

    /// Gives what is there another name, for good, with work as of [`uninterrupted`]. From then on
    /// this holds the path that the work returns.
    ///
    /// # Errors
    ///
    /// The error of the work. This then still holds the path from before.
    pub fn pass_on<E>(
        &mut self,
        work: impl FnOnce() -> std::result::Result<PathBuf, E>,
    ) -> std::result::Result<(), E> {
        let mut held = HELD.paths();
        let next = absolute(&work()?);
        held.remove(&self.0);
        held.insert(next.clone());
        self.0 = next;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        HELD.paths().remove(&self.0);
    }
}

/// The current folder may be another one later.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Paths that are to be removed.
struct Held(Mutex<BTreeSet<PathBuf>>);

impl Held {
    fn paths(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(paths: &BTreeSet<PathBuf>) {
    /// Another thread may write a file into a folder while it is removed.
    const ATTEMPTS: usize = 5;
    for path in paths {
        let remove = || match path.is_dir() {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        };
        let _ = (0..ATTEMPTS).any(|_| remove().is_ok() || !path.exists());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_files_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let [folder, file, gone] = ["folder", "file", "gone"].map(|name| root.path().join(name));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("weights.bin"), "1").unwrap();
        fs::write(&file, "1").unwrap();
        fs::write(root.path().join("mine"), "1").unwrap();
        remove(&[folder, file, gone].into());
        let left: Vec<_> = fs::read_dir(root.path()).unwrap().map(Result::unwrap).collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn what_its_owner_removed_is_held_no_longer() {
        let folder = Folder::new("epitome-").unwrap();
        let path = folder.path().to_owned();
        assert!(path.is_dir() && HELD.paths().contains(&path));
        drop(folder);
        assert!(!path.exists() && !HELD.paths().contains(&path));
    }

    #[test]
    fn what_got_its_name_is_held_no_longer() {
        let root = tempfile::tempdir().unwrap();
        let [partial, whole, old] = ["partial", "whole", "old"].map(|name| root.path().join(name));
        let mut hold = Hold::new(&partial);
        let rename = || fs::rename(&partial, &whole).map(|()| old.clone());
        assert!(hold.pass_on(rename).is_err());
        assert!(HELD.paths().contains(&partial));
        uninterrupted(|| fs::create_dir(&partial)).unwrap();
        hold.pass_on(rename).unwrap();
        let held = |path: &PathBuf| HELD.paths().contains(path);
        assert_eq!([&partial, &whole, &old].map(held), [false, false, true]);
        drop(hold);
        assert!(!held(&old) && whole.is_dir());
    }

    #[cfg(unix)]
    #[test]
    fn others_read_only_what_is_to_be_kept() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let usual = root.path().join("usual");
        fs::write(&usual, "1").unwrap();
        let kept = crate::beside::create(&root.path().join("kept")).unwrap();
        assert_eq!(mode(kept.path()), mode(&usual));
        assert_eq!(mode(File::new("epitome-").unwrap().path()), 0o600);
    }
}
