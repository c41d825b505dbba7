//! The subcommands, one file each.

#[cfg(feature = "aws")]
pub(crate) mod autoscale;
pub(crate) mod bench;
pub(crate) mod bench_worker;
pub(crate) mod compare;
pub(crate) mod completions;
#[cfg(feature = "aws")]
mod container_flags;
pub(crate) mod demo;
#[cfg(feature = "aws")]
pub(crate) mod deploy;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod extract_document;
#[cfg(feature = "aws")]
pub(crate) mod image;
pub(crate) mod inspect;
#[cfg(feature = "aws")]
pub(crate) mod invoke;
#[cfg(feature = "aws")]
mod key_values;
pub(crate) mod man;
pub(crate) mod mcp;
#[cfg(feature = "hub")]
pub(crate) mod models;
pub(crate) mod page;
pub(crate) mod prepare;
#[cfg(feature = "hub")]
pub(crate) mod pull;
mod seconds;
pub(crate) mod serve;
#[cfg(feature = "aws")]
pub(crate) mod status;
pub(crate) mod summarize;
#[cfg(feature = "aws")]
pub(crate) mod train;
#[cfg(feature = "aws")]
pub(crate) mod transform;
#[cfg(feature = "aws")]
pub(crate) mod undeploy;
