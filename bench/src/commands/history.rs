//! `epitome-bench history`

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use epitome_bench::history;

use super::history_folder;

/// Render the history as a page
#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder of the history
    #[arg(long, value_name = "DIR", default_value_os_t = history_folder())]
    folder: PathBuf,
    /// Where to write the page
    #[arg(long, value_name = "FILE", default_value = "target/history.html")]
    output: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let entries = history::read(&arguments.folder)?;
    fs::write(&arguments.output, history::page(&entries))
        .with_context(|| format!("cannot write '{}'", arguments.output.display()))?;
    println!(
        "{} entries in {}",
        entries.len(),
        arguments.output.display()
    );
    Ok(())
}
