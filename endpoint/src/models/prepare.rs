//! How a folder becomes a bundle that workers can open.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use epitome_runtime::scratch::BundleFolder;
use epitome_runtime::{SessionOptions, Summarizer};

use crate::metrics::Metrics;
use crate::scheduler::Engine;
use crate::settings::{Check, SchedulingSettings};

/// Any error, as foreign code returns it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes a bundle of a model folder: finds the one in it, or exports the checkpoint in it.
///
/// The binary hands one in, so that this crate knows nothing of checkpoints.
pub trait PrepareModel: Send + Sync {
    /// Prepares the model in this folder, which may be read-only. May take minutes; `stop` asks it
    /// to give up.
    ///
    /// # Errors
    /// Says why there is no model to be had of the folder.
    fn prepare(&self, folder: &Path, stop: &AtomicBool) -> Result<PreparedModel, BoxError>;
}

/// A bundle that can be opened.
#[derive(Debug)]
pub struct PreparedModel {
    /// Its folder.
    pub bundle: PathBuf,
    /// The folder around it, where the bundle was made for this server; removed with the model.
    pub scratch: Option<BundleFolder>,
}

/// What every model is loaded with.
pub(crate) struct Loader {
    pub(crate) prepare: Arc<dyn PrepareModel>,
    pub(crate) scheduling: SchedulingSettings,
    pub(crate) check: Check,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) open: OpenBundle,
}

/// Opens the bundle in a folder for one worker with so many threads; [`summarizer`] does.
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
