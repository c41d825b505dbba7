//! Runs an epitome bundle.

pub mod generation;
