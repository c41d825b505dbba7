//! Changes to the flags of all commands.

use clap::{Arg, Command};

/// Changes every flag of every subcommand; `change` gets the name of the subcommand and the flag.
pub(crate) fn each(command: Command, change: impl Fn(&str, Arg) -> Arg) -> Command {
    let names: Vec<String> =
        command.get_subcommands().map(|subcommand| subcommand.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(&name, |subcommand| subcommand.mut_args(|flag| change(&name, flag)))
    })
}

/// Ignores empty environment variables: SageMaker sets many unset ones to an empty text.
pub(crate) fn without_empty_variables(_: &str, flag: Arg) -> Arg {
    let value = flag.get_env().and_then(std::env::var_os);
    match value {
        Some(value) if value.to_string_lossy().trim().is_empty() => flag.env(None::<&str>),
        _ => flag,
    }
}

/// Also accepts transformers' spelling: `--num_beams` for `--num-beams`.
pub(crate) fn with_underscores(_: &str, flag: Arg) -> Arg {
    match flag.get_long().filter(|long| long.contains('-')).map(|long| long.replace('-', "_")) {
        Some(alias) => flag.alias(alias),
        None => flag,
    }
}
