//! The subcommands, one file each.

pub(crate) mod baseline;
pub(crate) mod count;
pub(crate) mod gate;
pub(crate) mod picture;
pub(crate) mod random_model;
pub(crate) mod roofline;
pub(crate) mod worker;

use std::io::{self, Write};

use anyhow::Result;
use epitome_bench::models::Exported;

/// The trained model, exported for this run.
pub(crate) fn trained() -> Result<Exported> {
    eprintln!("Exporting the trained model ...");
    Exported::trained()
}

/// Prints to standard output. Ignores a closed pipe: the reader has seen enough.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
