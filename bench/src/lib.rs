//! Measures epitome: how latency trades against `length_penalty`, and whether a commit made it slower.

pub mod canned;
pub mod data;
mod error;
pub mod models;
pub mod random;
pub mod rouge;
pub mod settings;
pub mod shape;

pub use error::{Error, Result};
