//! Models by name: a store of exported models on this machine, and downloads from the Hugging Face
//! hub into its own cache.
//!
//! | module | holds |
//! | --- | --- |
//! | [`store`] | the exported models, each under its name, and which is the default |
//! | [`download`] | fetching the files of a checkpoint that a conversion reads |
//! | [`settings`] | the environment variables of the hub's Python library |
//! | [`folders`] | where users keep data and settings on each platform |

#[cfg(feature = "download")]
pub mod download;
mod error;
mod files;
pub mod folders;
mod license;
#[cfg(feature = "download")]
pub mod settings;
pub mod store;

pub use error::{Error, Result};
pub use license::License;
pub use store::{Record, State, Store, StoredModel};
