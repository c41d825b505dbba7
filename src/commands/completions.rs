//! `epitome completions`

use std::io::{Write, stdout};

use anyhow::Result;
use clap::{Args, Command};
use clap_complete::Shell;

/// Print a script that completes commands and flags in a shell
///
/// For bash: epitome completions bash > ~/.local/share/bash-completion/completions/epitome
#[derive(Args)]
pub(crate) struct Arguments {
    /// Name of the shell
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments, mut command: Command) -> Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    Ok(stdout().lock().write_all(&script)?)
}
