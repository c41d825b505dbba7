//! Loads a graph into a session of ONNX Runtime.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

use crate::error::{Error, Result};
use crate::library::OnnxRuntime;
use crate::operators;
use crate::operators::observe::ActivationObserver;

/// Settings of sessions.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Number of threads that compute one operator (`intra_op_num_threads`).
    pub threads: NonZeroUsize,
    /// Whether ONNX Runtime prepacks weights. Steps are then faster, but loading is slower and
    /// takes as much memory again.
    pub prepack: bool,
    /// Whether waiting threads spin. It is faster if each thread has a processor of its own, and
    /// slower otherwise. It has no effect with one thread.
    pub spin: bool,
    /// Observer of activations, for graphs that were exported for calibration.
    pub observer: Option<Arc<dyn ActivationObserver>>,
}

impl Default for SessionOptions {
    /// As many threads as the process may use. On Linux, the cgroup quota and the scheduler
    /// affinity count, which ONNX Runtime itself ignores.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { threads, prepack: true, spin: true, observer: None }
    }
}

/// Loads a graph.
pub fn open(runtime: &OnnxRuntime, path: &Path, options: &SessionOptions) -> Result<Session> {
    let during = format!("loading '{}'", path.display());
    let session = || -> ort::Result<Session> {
        operators::registration::register(runtime.environment())?;
        Session::builder(runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(options.threads.get())?
            .with_intra_op_spinning(options.spin)?
            // Otherwise the encoder's threads would spin while the decoder runs.
            .with_config_entry("session.force_spinning_stop", "1")?
            // Lengths differ between documents, so that a memory pattern would rarely fit.
            .with_memory_pattern(false)?
            .with_prepacking(options.prepack)?
            .with_operators(operators::domain(options.observer.as_ref())?)?
            .commit_from_file(path)
    };
    session().map_err(|error| Error::onnx_runtime(during, error))
}
