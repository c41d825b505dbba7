//! Writes a checkpoint as a bundle.

pub mod checkpoint;
mod error;
mod progress;
pub mod source;

pub use error::{Error, Result};
pub use progress::Progress;
