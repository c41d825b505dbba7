//! One file a subcommand.

pub(crate) mod bench;
pub(crate) mod demo;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod serve;
pub(crate) mod summarize;
