//! The `epitome` command: see `epitome --help`.

mod commands;
mod documents;
mod failure;
mod generation_flags;
mod interrupt;
mod output;
mod progress;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Fine-tuned summarization models as ONNX, without Python.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Export(commands::export::Arguments),
    Summarize(commands::summarize::Arguments),
    Inspect(commands::inspect::Arguments),
    Bench(commands::bench::Arguments),
    Demo(commands::demo::Arguments),
    Serve(commands::serve::Arguments),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Export(arguments) => commands::export::run(&arguments),
        Command::Summarize(arguments) => commands::summarize::run(&arguments),
        Command::Inspect(arguments) => commands::inspect::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::Demo(arguments) => commands::demo::run(&arguments),
        Command::Serve(arguments) => commands::serve::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
