//! `epitome man`

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Command};

/// Write the manual pages, one per command
#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder to write them to, such as ~/.local/share/man/man1
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, command: Command) -> Result<()> {
    let folder = &arguments.folder;
    let failed = || format!("cannot write to '{}'", folder.display());
    fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(command, folder).with_context(failed)?;
    eprintln!("Wrote the manual pages to {}", folder.display());
    Ok(())
}
