//! Writes a checkpoint as a bundle.
