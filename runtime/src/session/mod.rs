//! The two graphs of a bundle as sessions of ONNX Runtime.
//!
//! - [`Encoder`] encodes a document and returns its [`SourceMemory`].
//! - [`Decoder`] starts a [`Decoding`]. Documents join and leave it between steps. Its key/value
//!   caches are not copied meanwhile.

mod cross_kv;
mod decoder;
mod encoder;
mod graph;
mod interface;
mod self_kv;
mod step;
mod tensors;

pub use cross_kv::SourceMemory;
pub use decoder::{Decoder, Decoding};
pub use encoder::Encoder;
pub use graph::{SessionOptions, open};

use ort::session::Session;

use crate::bundle::{Bundle, DECODER, ENCODER};
use crate::error::Result;
use crate::library::OnnxRuntime;

/// Loads encoder and decoder concurrently.
pub fn load(bundle: &Bundle, options: &SessionOptions) -> Result<(Encoder, Decoder)> {
    let runtime = OnnxRuntime::load()?;
    let shape = &bundle.manifest().shape;
    let paths = [bundle.path(ENCODER), bundle.path(DECODER)];
    let (encoder, decoder) = std::thread::scope(|scope| {
        let encoder = scope.spawn(|| -> Result<Session> {
            let encoder = open(&runtime, &paths[0], options)?;
            interface::check_encoder(&encoder, &paths[0], shape)?;
            Ok(encoder)
        });
        let decoder = open(&runtime, &paths[1], options).and_then(|decoder| {
            interface::check_decoder(&decoder, &paths[1], shape)?;
            Ok(decoder)
        });
        (encoder.join().expect("loading does not panic"), decoder)
    });
    let (encoder, decoder) = (encoder?, decoder?);
    interface::check_cross(&encoder, &decoder, &paths[1])?;
    Ok((Encoder::new(encoder, shape.clone()), Decoder::new(decoder, shape.clone())))
}
