//! The two graphs of a bundle, running in ONNX Runtime.
//!
//! - [`Encoder`] reads one document and gives its [`SourceMemory`], computed once.
//! - [`Decoder`] starts a [`Decoding`] of one or more documents, which makes one step at a time over
//!   buffers that are bound once and never move.

mod cross;
mod decoder;
mod draft;
mod encoder;

use std::num::NonZeroUsize;
use std::path::Path;

use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{Tensor, TensorValueType, Value};

pub use decoder::{Decoder, Decoding};
pub use encoder::{Encoder, SourceMemory};

use crate::bundle::{Bundle, DECODER, DRAFT, ENCODER};
use crate::error::{Error, Result};
use crate::library::OnnxRuntime;
use crate::operators;

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
}

impl Default for SessionOptions {
    /// As many threads as this process may use: on Linux that heeds the cgroup quota and the
    /// scheduler affinity, which ONNX Runtime by itself does not.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            threads,
            prepack: true,
            spin: true,
        }
    }
}

/// Loads encoder and decoder, side by side; the graph that reads drafts follows when it is used.
pub fn load(bundle: &Bundle, options: &SessionOptions) -> Result<(Encoder, Decoder)> {
    let runtime = OnnxRuntime::load()?;
    let shape = &bundle.manifest().shape;
    let draft = bundle.has_draft().then(|| bundle.path(DRAFT));
    let draft = draft::DraftGraph::new(draft, options);
    std::thread::scope(|scope| {
        let encoder = scope.spawn(|| open(&runtime, &bundle.path(ENCODER), options));
        let decoder = open(&runtime, &bundle.path(DECODER), options);
        let encoder = encoder.join().expect("loading does not panic")?;
        Ok((
            Encoder::new(encoder, shape.clone()),
            Decoder::new(decoder?, draft, shape.clone()),
        ))
    })
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
            // Lengths differ from document to document: a plan made for one would not fit the next.
            .with_memory_pattern(false)?
            .with_prepacking(options.prepack)?
            .with_operators(operators::domain()?)?
            .commit_from_file(path)
    };
    session().map_err(|error| Error::onnx_runtime(during, error))
}

/// An uninitialized tensor that can be bound as input and as output.
fn allocate<T>(shape: &[usize]) -> Result<Tensor<T>>
where
    T: ort::value::PrimitiveTensorElementType + std::fmt::Debug,
{
    let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
    Tensor::new(&ort::memory::Allocator::default(), dims)
        .map_err(|error| Error::onnx_runtime(format!("allocating {shape:?}"), error))
}

/// A tensor with these values.
fn filled<T>(shape: &[usize], values: impl IntoIterator<Item = T>) -> Result<Tensor<T>>
where
    T: ort::value::PrimitiveTensorElementType + std::fmt::Debug,
{
    let mut tensor = allocate(shape)?;
    let (_, slots) = tensor.extract_tensor_mut();
    slots
        .iter_mut()
        .zip(values)
        .for_each(|(slot, value)| *slot = value);
    Ok(tensor)
}

type FloatTensor = Value<TensorValueType<f32>>;
