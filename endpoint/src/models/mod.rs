//! Models: loaded in the background, checked, loaded again when their files change.
//!
//! * `model`: one model with its queue and workers.
//! * `prepare`: how a folder becomes a bundle that can be opened.
//! * `scratch`: folders for bundles that were made for this server.
//! * `files`: whether the files of a folder have changed.
//! * `check`: the digests of a bundle's files.
//! * `registry`: models that come and go through `/models`.
//! * `folders`: where such models may lie.
//! * `memory`: how much memory models may fill.

mod check;
mod files;
mod folders;
pub(crate) mod memory;
mod model;
mod prepare;
mod registry;

pub(crate) use folders::ModelFolders;
pub(crate) use model::Model;
pub use prepare::{BoxError, PrepareModel, PreparedModel};
pub(crate) use prepare::{Loader, OpenBundle, summarizer};
pub(crate) use registry::Registry;
