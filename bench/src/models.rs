//! The models that are measured: the repository's trained one, and random ones of true shape.

use std::env;
use std::path::{Path, PathBuf};

use epitome_export::{ExportOptions, Progress, export};
use epitome_runtime::bundle::Bundle;
use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::shape::Shape;

/// The trained model, as a training job left it.
const TRAINED: &str = "pegasus-debian.tar.gz";
/// The pairs it was not trained on.
const HELD_OUT: &str = "summaries/validation-1000.csv";
/// Names an archive or a checkpoint folder to measure in the place of the trained model.
const SOURCE_VARIABLE: &str = "EPITOME_BENCH_SOURCE";

/// The repository's `fixtures/`: below the current folder, or where this program was built.
pub fn fixtures() -> PathBuf {
    let here = PathBuf::from("fixtures");
    if here.join(HELD_OUT).is_file() {
        here
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
    }
}

/// Documents with reference summaries that the trained model has never seen.
pub fn held_out() -> PathBuf {
    fixtures().join(HELD_OUT)
}

/// The trained model's archive.
pub fn trained() -> PathBuf {
    env::var_os(SOURCE_VARIABLE).map_or_else(|| fixtures().join(TRAINED), PathBuf::from)
}

/// A bundle in a temporary folder, gone when this is dropped.
pub struct Exported {
    folder: TempDir,
}

impl Exported {
    /// Exports a checkpoint folder or an archive, and proves it sound.
    ///
    /// # Errors
    ///
    /// [`Error::Export`], or [`Error::Io`] when there is no room.
    pub fn of(source: &Path, progress: &dyn Progress) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(Error::io(env::temp_dir()))?;
        let options = ExportOptions {
            progress,
            ..ExportOptions::default()
        };
        export(source, &folder.path().join("bundle"), &options)?;
        Ok(Self { folder })
    }

    /// The trained model.
    ///
    /// # Errors
    ///
    /// As [`Exported::of`].
    pub fn trained() -> Result<Self> {
        Self::of(&trained(), &())
    }

    /// A random model of this shape.
    ///
    /// # Errors
    ///
    /// As [`Exported::of`].
    pub fn random(shape: &Shape) -> Result<Self> {
        let checkpoint = tempfile::tempdir().map_err(Error::io(env::temp_dir()))?;
        shape.write(checkpoint.path())?;
        Self::of(checkpoint.path(), &())
    }

    /// The bundle's folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("bundle")
    }

    /// The bundle.
    ///
    /// # Errors
    ///
    /// [`Error::Runtime`] when it was damaged since.
    pub fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::open(self.path())?)
    }
}
