//! `epitome-bench history`

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use epitome_bench::history;
use epitome_bench::report::replace;

use super::{history_folder, say};

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
    replace(&arguments.output, history::page(&entries).as_bytes())?;
    say(&format!(
        "{} entries in {}",
        entries.len(),
        arguments.output.display()
    ))
}
