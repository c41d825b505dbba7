//! Models: they are loaded in the background, checked, and loaded again when their files change.
//!
//! * `model`: one model with its queue and workers.
//! * `prepare`: turns a folder into a bundle that can be opened.
//! * `files`: detects changes of the files in a folder.
//! * `check`: compares the digests of a bundle's files.
//! * `registry`: models that are loaded and unloaded through `/models`.
//! * `folders`: the allowed folders for such models.
//! * `memory`: the memory that models may use.

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
