//! Runs an epitome bundle.
