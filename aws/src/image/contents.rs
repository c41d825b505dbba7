//! The files of the image: the program, ONNX Runtime, and the system libraries that both use. They
//! are the files that this process has loaded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The folder of the program in the image.
const FOLDER: &str = "opt/epitome";

/// Path of the dynamic loader, where programs expect it.
#[cfg(target_arch = "x86_64")]
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";
#[cfg(not(target_arch = "x86_64"))]
const LOADER: &str = "lib/ld-linux-aarch64.so.1";

/// The files of the image by path, without the first slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    entries: BTreeMap<PathBuf, Entry>,
}

/// A file in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Type of the entry.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
}

/// Type of an entry in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A local file.
    File(PathBuf),
    /// A link to a file in the same folder.
    Link(PathBuf),
    /// An empty folder.
    Folder,
}

impl Contents {
    /// The files for `program`, which is this process, and the ONNX Runtime that it has loaded.
    ///
    /// # Errors
    /// If this is no Linux, or the process does not tell what it has loaded.
    pub fn of_this_process(program: &Path, onnx_runtime: &Path) -> Result<Self> {
        let maps = fs::read_to_string("/proc/self/maps").map_err(|_| {
            Error::Invalid(
                "an image is made of a program for Linux, and this is another system: run the \
                 command on Linux, or build endpoint/Dockerfile with Docker"
                    .into(),
            )
        })?;
        let canonical =
            |path: &Path| fs::canonicalize(path).map_err(|error| Error::io(path, error));
        let own = [canonical(program)?, canonical(onnx_runtime)?];
        let mut contents = Self::default();
        contents.add(Path::new(FOLDER).join("epitome"), EntryKind::File(own[0].clone()), 0o755);
        let name = onnx_runtime.file_name().unwrap_or_default();
        let place = Path::new(FOLDER).join("lib").join(name);
        contents.add(place, EntryKind::File(own[1].clone()), 0o644);
        contents.add("tmp".into(), EntryKind::Folder, 0o1777);
        for library in libraries(&maps).filter(|library| !own.contains(library)) {
            contents.add_library(&library)?;
        }
        Ok(contents)
    }

    /// Adds a library with its other names.
    fn add_library(&mut self, library: &Path) -> Result<()> {
        let folder = library.parent().unwrap_or(Path::new("/"));
        let inside = folder.strip_prefix("/").unwrap_or(folder);
        let name = PathBuf::from(library.file_name().unwrap_or_default());
        let file = || EntryKind::File(library.to_owned());
        if name.to_string_lossy().starts_with("ld-linux") {
            self.add(LOADER.into(), file(), 0o755);
            return Ok(());
        }
        self.add(inside.join(&name), file(), 0o755);
        let entries = fs::read_dir(folder).map_err(|error| Error::io(folder, error))?;
        for entry in entries.flatten() {
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if is_link && fs::canonicalize(entry.path()).is_ok_and(|path| path == library) {
                self.add(inside.join(entry.file_name()), EntryKind::Link(name.clone()), 0o777);
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf, kind: EntryKind, mode: u32) {
        self.entries.insert(path, Entry { kind, mode });
    }

    /// The files in the order of their paths.
    pub fn entries(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_path(), entry))
    }
}

/// The shared libraries that a process has mapped.
fn libraries(maps: &str) -> impl Iterator<Item = PathBuf> {
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    let is_library = |path: &&str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name.contains(".so") && !path.ends_with("(deleted)")
    };
    let unique: std::collections::BTreeSet<PathBuf> =
        paths.filter(is_library).map(PathBuf::from).collect();
    unique.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_the_map_of_a_process() {
        let maps = "\
            55d0-55d1 r--p 00000000 fe:01 1 /usr/bin/epitome\n\
            7f00-7f01 r--p 00000000 fe:01 2 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
            7f01-7f02 r-xp 00000000 fe:01 2 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
            7f02-7f03 rw-p 00000000 00:00 0 \n\
            7ffc-7ffd rw-p 00000000 00:00 0 [stack]\n";
        let found: Vec<_> = libraries(maps).collect();
        assert_eq!(found, [PathBuf::from("/usr/lib/x86_64-linux-gnu/libc.so.6")]);
    }
}
