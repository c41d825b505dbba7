//! Turns a folder into a bundle that workers can open.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use epitome_runtime::scratch::BundleFolder;
use epitome_runtime::{SessionOptions, Summarizer};

use crate::metrics::Metrics;
use crate::scheduler::Engine;
use crate::settings::{Check, SchedulingSettings};

/// Any error, for implementations outside of this crate.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes a bundle of a model folder: finds one in it, or exports the checkpoint in it.
///
/// The caller of the server implements it, so that this crate does not depend on the export.
pub trait PrepareModel: Send + Sync {
    /// Prepares the model in this folder, which may be read-only. May take minutes. `stop` asks it
    /// to give up.
    ///
    /// # Errors
    /// If the folder has no usable model.
    fn prepare(&self, folder: &Path, stop: &AtomicBool) -> Result<PreparedModel, BoxError>;
}

/// A bundle that can be opened.
#[derive(Debug)]
pub struct PreparedModel {
    /// Folder of the bundle.
    pub bundle: PathBuf,
    /// Temporary folder of the bundle, if it was made for this server. It is removed with the
    /// model.
    pub scratch: Option<BundleFolder>,
}

/// Settings that all models are loaded with.
pub(crate) struct Loader {
    pub(crate) prepare: Arc<dyn PrepareModel>,
    pub(crate) scheduling: SchedulingSettings,
    pub(crate) check: Check,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) open: OpenBundle,
}

/// Opens the bundle in a folder for one worker with this number of threads. [`summarizer`] is the
/// implementation.
pub(crate) type OpenBundle =
    fn(&Path, &SchedulingSettings, NonZeroUsize) -> Result<Box<dyn Engine>, BoxError>;

/// Opens a bundle in ONNX Runtime.
pub(crate) fn summarizer(
    bundle: &Path,
    scheduling: &SchedulingSettings,
    threads: NonZeroUsize,
) -> Result<Box<dyn Engine>, BoxError> {
    let options = SessionOptions { threads, spin: scheduling.spin, ..Default::default() };
    let mut summarizer = Summarizer::open_with(bundle, &options)?;
    summarizer.set_rows_together(scheduling.rows);
    Ok(Box::new(summarizer))
}
