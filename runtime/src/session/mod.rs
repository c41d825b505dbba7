//! The two graphs of a bundle, running in ONNX Runtime.
//!
//! - [`Encoder`] reads one document and gives its [`SourceMemory`], computed once.
//! - [`Decoder`] starts a [`Decoding`] of one or more documents, which makes one step at a time
//!   over buffers that are bound once and never move.

mod buffers;
mod cross_kv;
mod decoder;
mod draft;
mod encoder;
mod graph;
mod interface;
mod tensors;

pub use cross_kv::SourceMemory;
pub use decoder::{Decoder, Decoding};
pub use encoder::Encoder;
pub use graph::{SessionOptions, open};

use ort::session::Session;

use crate::bundle::{Bundle, DECODER, DRAFT, ENCODER};
use crate::error::Result;
use crate::library::OnnxRuntime;

/// Loads encoder and decoder, side by side; the graph that reads drafts follows when it is used.
pub fn load(bundle: &Bundle, options: &SessionOptions) -> Result<(Encoder, Decoder)> {
    let runtime = OnnxRuntime::load()?;
    let shape = &bundle.manifest().shape;
    let draft = draft::DraftGraph::new(bundle.path(DRAFT), options, shape.clone());
    let paths = [bundle.path(ENCODER), bundle.path(DECODER)];
    let (encoder, decoder) = std::thread::scope(|scope| {
        let encoder = scope.spawn(|| -> Result<Session> {
            let encoder = open(&runtime, &paths[0], options)?;
            interface::check_encoder(&encoder, &paths[0], shape)?;
            Ok(encoder)
        });
        let decoder = open(&runtime, &paths[1], options).and_then(|decoder| {
            interface::check_decoder(&decoder, &paths[1], shape, false)?;
            Ok(decoder)
        });
        (encoder.join().expect("loading does not panic"), decoder)
    });
    let (encoder, decoder) = (encoder?, decoder?);
    interface::check_cross(&encoder, &decoder, &paths[1])?;
    Ok((Encoder::new(encoder, shape.clone()), Decoder::new(decoder, draft, shape.clone())))
}
