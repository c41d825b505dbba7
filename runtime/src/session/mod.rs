//! The two graphs of a bundle, running in ONNX Runtime.
//!
//! - [`Encoder`] reads one document and gives its [`SourceMemory`], computed once.
//! - [`Decoder`] starts a [`Decoding`] of one or more documents, which makes one step at a time over
//!   buffers that are bound once and never move.

mod buffers;
mod cross_kv;
mod decoder;
mod draft;
mod encoder;
mod graph;
mod tensors;

pub use cross_kv::SourceMemory;
pub use decoder::{Decoder, Decoding};
pub use encoder::Encoder;
pub use graph::{SessionOptions, open};

use crate::bundle::{Bundle, DECODER, DRAFT, ENCODER};
use crate::error::Result;
use crate::library::OnnxRuntime;

/// Loads encoder and decoder, side by side; the graph that reads drafts follows when it is used.
pub fn load(bundle: &Bundle, options: &SessionOptions) -> Result<(Encoder, Decoder)> {
    let runtime = OnnxRuntime::load()?;
    let shape = &bundle.manifest().shape;
    let draft = draft::DraftGraph::new(bundle.path(DRAFT), options);
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
