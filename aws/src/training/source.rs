//! Training scripts, packed for the training toolkit.

use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use crate::error::{Error, Result};

/// Packs a folder as a `sourcedir.tar.gz`; if `folder` is `None`, packs the single file
/// `entry_point`. Names are relative to the folder. The same files give the same bytes.
///
/// # Errors
/// If the entry point does not exist, or a file cannot be read.
pub fn pack(folder: Option<&Path>, entry_point: &str, to: impl Write) -> Result<()> {
    let entry =
        folder.map_or_else(|| PathBuf::from(entry_point), |folder| folder.join(entry_point));
    let stays = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if folder.is_some() && !Path::new(entry_point).components().all(stays) {
        return Err(Error::Invalid(format!(
            "the entry point '{entry_point}' is not below source_dir: give its path from there"
        )));
    }
    if !entry.is_file() {
        return Err(Error::Invalid(format!(
            "the entry point '{}' does not exist: give a script, relative to source_dir where that \
             is given",
            entry.display()
        )));
    }
    let failed = |error: io::Error| Error::Failed(format!("the scripts cannot be packed: {error}"));
    let mut files = Vec::new();
    match folder {
        Some(folder) => list(folder, Path::new(""), &mut files).map_err(failed)?,
        None => files.push((entry.clone(), PathBuf::from(entry.file_name().unwrap_or_default()))),
    }
    files.sort_by(|a, b| a.1.cmp(&b.1));
    let mut archive = Builder::new(GzEncoder::new(to, Compression::default()));
    for (path, name) in files {
        let bytes = fs::read(&path).map_err(failed)?;
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice()).map_err(failed)?;
    }
    let gzip = archive.into_inner().map_err(failed)?;
    gzip.finish().and_then(|mut to| to.flush()).map_err(failed)
}

/// Lists all files below a folder, with their relative paths. Skips `.git`.
fn list(folder: &Path, inside: &Path, files: &mut Vec<(PathBuf, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = inside.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if entry.file_name() != ".git" {
                list(&entry.path(), &name, files)?;
            }
        } else if entry.path().is_file() {
            files.push((entry.path(), name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn names(archive: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            io::copy(&mut entry.by_ref(), &mut io::sink()).unwrap();
            names.push(entry.path().unwrap().display().to_string());
        }
        names
    }

    #[test]
    fn scripts_are_packed_flat_and_alike() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["train.py", "requirements.txt", "lib/util.py", ".git/config"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let pack = |folder: Option<&Path>, entry: &str| {
            let mut archive = Vec::new();
            pack(folder, entry, &mut archive).map(|()| archive)
        };
        let archive = pack(Some(folder.path()), "train.py").unwrap();
        assert_eq!(names(&archive), ["lib/util.py", "requirements.txt", "train.py"]);
        assert_eq!(archive, pack(Some(folder.path()), "train.py").unwrap());

        let alone = folder.path().join("train.py").display().to_string();
        assert_eq!(names(&pack(None, &alone).unwrap()), ["train.py"]);
        let error = pack(Some(folder.path()), "gone.py").unwrap_err();
        assert!(error.is_usage(), "{error}");
    }
}
