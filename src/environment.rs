//! Environment variables of flags: SageMaker sets many to nothing, and those count as not set.

use clap::{Arg, Command};

/// The command without the environment variables that are empty.
pub(crate) fn without_empty(command: Command) -> Command {
    let names: Vec<String> =
        command.get_subcommands().map(|subcommand| subcommand.get_name().to_owned()).collect();
    let command = command.mut_args(forget_empty);
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |subcommand| subcommand.mut_args(forget_empty))
    })
}

fn forget_empty(flag: Arg) -> Arg {
    let value = flag.get_env().and_then(std::env::var_os);
    match value {
        Some(value) if value.to_string_lossy().trim().is_empty() => flag.env(None::<&str>),
        _ => flag,
    }
}
