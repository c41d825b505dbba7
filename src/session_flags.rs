//! The flags of a session: how a model runs on this machine.

use std::num::NonZeroUsize;

use clap::Args;
use epitome_runtime::SessionOptions;

/// Options of a session.
#[derive(Args, Clone, Debug)]
pub(crate) struct SessionFlags {
    /// Number of threads
    #[arg(
        long,
        alias = "num-threads",
        value_name = "N",
        env = "EPITOME_THREADS",
        default_value_t = SessionOptions::default().threads
    )]
    threads: NonZeroUsize,
}

impl SessionFlags {
    /// The options of a session.
    pub(crate) fn options(&self) -> SessionOptions {
        SessionOptions { threads: self.threads, ..SessionOptions::default() }
    }
}
