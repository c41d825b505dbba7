//! Bundles for measurements: the repository's trained model, and random models of a given shape.

use std::path::{Path, PathBuf};

use anyhow::Result;
use epitome_export::{ExportOptions, export};
use tempfile::TempDir;

use crate::fixtures;
use crate::random_checkpoint::Shape;

/// A bundle in a temporary folder, which is deleted when this is dropped.
pub struct Exported {
    folder: TempDir,
}

impl Exported {
    /// Exports a checkpoint folder or an archive, and verifies the bundle.
    ///
    /// # Errors
    ///
    /// When the export fails, or no temporary folder can be made.
    pub fn of(source: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        export(source, &folder.path().join("bundle"), &ExportOptions::default())?;
        Ok(Self { folder })
    }

    /// Exports the trained model.
    ///
    /// # Errors
    ///
    /// Fails as [`Exported::of`] does.
    pub fn trained() -> Result<Self> {
        Self::of(&fixtures::trained())
    }

    /// Exports a random model of this shape.
    ///
    /// # Errors
    ///
    /// Fails as [`Exported::of`] does.
    pub fn random(shape: &Shape) -> Result<Self> {
        let checkpoint = tempfile::tempdir()?;
        shape.write(checkpoint.path())?;
        Self::of(checkpoint.path())
    }

    /// The bundle's folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("bundle")
    }
}

#[cfg(test)]
mod tests {
    use epitome_runtime::bundle::Bundle;

    use super::*;

    #[test]
    fn a_random_model_can_be_exported() {
        let shape = Shape { layers: 2, hidden: 32, ffn: 64, heads: 2, vocab: 1200, positions: 64 };
        // The export verifies that encoder and decoder compute finite numbers.
        let exported = Exported::random(&shape).expect("exported");
        let bundle = Bundle::open(exported.path()).expect("a bundle");
        let found = &bundle.manifest().shape;
        assert_eq!((found.hidden_size, found.decoder_layers, found.vocab_size), (32, 2, 1200));
    }
}
