//! The folder from which a server loads its model.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use epitome_endpoint::{BoxError, PrepareModel, PreparedModel};
use epitome_export::ExportOptions;
use epitome_runtime::bundle::MANIFEST;
use epitome_runtime::progress::{Progress, Total};
use epitome_runtime::scratch::BundleFolder;

/// Uses a bundle unchanged, and exports a checkpoint to a temporary folder.
pub(crate) struct ModelFolder;

impl PrepareModel for ModelFolder {
    fn prepare(&self, folder: &Path, stop: &AtomicBool) -> Result<PreparedModel, BoxError> {
        if folder.join(MANIFEST).is_file() {
            return Ok(PreparedModel { bundle: folder.into(), scratch: None });
        }
        // The model folder may be read-only.
        let scratch = BundleFolder::new()?;
        let bundle = scratch.path().join("bundle");
        let options = ExportOptions { progress: &Stop(stop), ..ExportOptions::default() };
        epitome_export::export(folder, &bundle, &options)?;
        Ok(PreparedModel { bundle, scratch: Some(scratch) })
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Progress for Stop<'_> {
    fn start(&self, what: &str, _total: Total) {
        tracing::info!(stage = what, "exporting the checkpoint");
    }

    fn note(&self, note: &str) {
        tracing::warn!(note, "exporting the checkpoint");
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
