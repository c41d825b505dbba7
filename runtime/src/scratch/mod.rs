//! Temporary folders and files. They are removed when their owner is dropped.
//!
//! If a signal ends the process, they are removed if its handler calls [`remove_all_and_exit`]. The
//! command line does so, the Python module does not. [`exit_at_once`] ends a process with running
//! threads. A [`BundleFolder`] of a killed process is removed by the next process.

mod bundle_folder;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use bundle_folder::BundleFolder;
use tempfile::{NamedTempFile, TempDir};

/// The existing temporary folders and files.
static HELD: Held = Held(Mutex::new(BTreeSet::new()));

/// Removes all temporary folders and files, for a program that ends without dropping their owners.
pub fn remove_all() {
    remove(&HELD.paths());
}

/// Removes all temporary folders and files, and ends the process. This is for signal handlers. It
/// holds a lock, so that other threads create nothing new meanwhile.
pub fn remove_all_and_exit(code: i32) -> ! {
    let held = HELD.paths();
    remove(&held);
    exit_at_once(code)
}

/// Ends the process while other threads run, without the destructors of libraries. The destructors
/// of ONNX Runtime would free memory that other threads still read.
pub fn exit_at_once(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: `_exit` takes any number, and accesses no memory of the process.
    unsafe {
        libc::_exit(code)
    }
    // On Windows, `exit` ends the other threads first.
    #[cfg(not(unix))]
    std::process::exit(code)
}

/// Runs `work` without interruption by [`remove_all_and_exit`], which waits for it. The work must
/// not create or drop anything of this module: that would be a deadlock.
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
    /// Creates a folder in `parent`. Its name begins with `prefix`.
    ///
    /// # Errors
    ///
    /// The system cannot create a folder there.
    pub fn new_in(parent: &Path, prefix: &str) -> Result<Self> {
        let mut held = HELD.paths();
        let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
        let hold = Hold::among(&mut held, folder.path());
        Ok(Self { folder, _hold: hold })
    }

    /// Creates a folder in the system's folder of temporary files.
    ///
    /// # Errors
    ///
    /// The system cannot create a folder there.
    pub fn new(prefix: &str) -> Result<Self> {
        Self::new_in(&std::env::temp_dir(), prefix)
    }

    /// The path of the folder.
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
    /// Creates a file in the system's folder of temporary files. Its name begins with `prefix`.
    /// Only this user can read it.
    ///
    /// # Errors
    ///
    /// The system cannot create a file there.
    pub fn new(prefix: &str) -> Result<Self> {
        Self::build(tempfile::Builder::new().prefix(prefix), &std::env::temp_dir())
    }

    /// Creates a file in `parent`, for [`persist`](Self::persist). Its name begins with `prefix`.
    /// It has the permissions of an ordinary new file.
    ///
    /// # Errors
    ///
    /// The system cannot create a file there.
    pub(crate) fn to_keep_in(parent: &Path, prefix: &str) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(prefix);
        // The system applies the umask.
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

    /// The path of the file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The open file.
    pub fn as_file_mut(&mut self) -> &mut fs::File {
        self.file.as_file_mut()
    }

    /// Moves the file to `path`, where it stays. An existing file is replaced.
    ///
    /// # Errors
    ///
    /// The system cannot move the file. The temporary file is then removed.
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

/// While this lives, [`remove_all`] and [`remove_all_and_exit`] remove the file or folder at a
/// path.
#[derive(Debug)]
pub struct Hold(PathBuf);

impl Hold {
    /// Holds `path`. The file or folder must be created afterwards, with [`uninterrupted`].
    pub fn new(path: &Path) -> Self {
        Self::among(&mut HELD.paths(), path)
    }

    fn among(held: &mut BTreeSet<PathBuf>, path: &Path) -> Self {
        let path = absolute(path);
        held.insert(path.clone());
        Self(path)
    }

    /// Runs `work` as [`uninterrupted`] does. The work moves the file or folder to its final path.
    /// From then on, this holds the path that the work returns instead.
    ///
    /// # Errors
    ///
    /// The error of the work. This then still holds the earlier path.
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

/// Makes a path absolute, since the current folder may change.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A set of paths to remove.
struct Held(Mutex<BTreeSet<PathBuf>>);

impl Held {
    fn paths(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(paths: &BTreeSet<PathBuf>) {
    /// Removal is repeated, since other threads may write files to a folder meanwhile.
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
    fn a_dropped_folder_is_removed_and_not_held() {
        let folder = Folder::new("epitome-").unwrap();
        let path = folder.path().to_owned();
        assert!(path.is_dir() && HELD.paths().contains(&path));
        drop(folder);
        assert!(!path.exists() && !HELD.paths().contains(&path));
    }

    #[test]
    fn a_renamed_folder_is_not_held() {
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
    fn only_files_to_keep_are_readable_by_others() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let usual = root.path().join("usual");
        fs::write(&usual, "1").unwrap();
        let kept = crate::atomic_file::create(&root.path().join("kept")).unwrap();
        assert_eq!(mode(kept.path()), mode(&usual));
        assert_eq!(mode(File::new("epitome-").unwrap().path()), 0o600);
    }
}
