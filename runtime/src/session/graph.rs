//! Loading one graph into a session of ONNX Runtime.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

use crate::error::{Error, Result};
use crate::library::OnnxRuntime;
use crate::operators;
use crate::operators::observe::Observer;

/// How sessions use the machine.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Threads that work on one operator.
    pub threads: NonZeroUsize,
    /// Whether to copy weights into the layout that multiplies fastest: quicker steps, at the price
    /// of a slower start and as much memory again.
    pub prepack: bool,
    /// Whether threads that wait for each other keep their processors: quicker where they have them
    /// to themselves, and slower where they do not. One thread never waits.
    pub spin: bool,
    /// Who watches tensors, in graphs that were written for it.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for SessionOptions {
    /// As many threads as this process may use: on Linux that heeds the cgroup quota and the
    /// scheduler affinity, which ONNX Runtime by itself does not.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { threads, prepack: true, spin: true, observer: None }
    }
}

/// Loads one graph.
pub fn open(runtime: &OnnxRuntime, path: &Path, options: &SessionOptions) -> Result<Session> {
    let during = format!("loading '{}'", path.display());
    let session = || -> ort::Result<Session> {
        operators::registration::register(runtime.environment())?;
        Session::builder(runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(options.threads.get())?
            .with_intra_op_spinning(options.spin)?
            // The encoder's threads would spin on while the decoder runs, and take its processors.
            .with_config_entry("session.force_spinning_stop", "1")?
            // Lengths differ from document to document: a plan made for one would not fit the next.
            .with_memory_pattern(false)?
            .with_prepacking(options.prepack)?
            .with_operators(operators::domain(options.observer.as_ref())?)?
            .commit_from_file(path)
    };
    session().map_err(|error| Error::onnx_runtime(during, error))
}
