//! Writes a checkpoint as a bundle.

mod arch;
pub mod checkpoint;
pub mod dataset;
mod error;
mod export;
#[cfg(feature = "aws")]
pub mod fetch;
#[cfg(test)]
mod fuzz;
mod generation_defaults;
mod onnx;
pub mod optimum;
mod progress;
mod quantize;
pub mod source;
mod staging;
mod tokenizer;
mod verify;

pub use error::{Error, Result};
pub use export::{ExportOptions, export};
pub use progress::Progress;
