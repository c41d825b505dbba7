//! Exports a checkpoint to a bundle.

mod adapter;
mod arch;
mod calibration;
pub mod checkpoint;
pub mod dataset;
mod error;
mod export;
#[cfg(test)]
mod fuzz;
mod generation_defaults;
pub mod hub_cache;
mod onnx;
pub mod optimum;
mod packing;
pub mod source;
mod staging;
mod tokenizer;
mod verify;
mod version;

pub use arch::check_supported;
pub use calibration::Calibration;
pub use error::{Error, Result};
pub use export::{ExportOptions, export};
