//! The `epitome` command: see `epitome --help`.

#[cfg(feature = "aws")]
mod aws_progress;
mod commands;
mod documents;
mod failure;
mod generation_flags;
mod interrupt;
mod output;
mod places;
mod progress;
#[cfg(feature = "aws")]
mod sending;
#[cfg(feature = "aws")]
mod training_job;

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
    Compare(commands::compare::Arguments),
    Demo(commands::demo::Arguments),
    Serve(commands::serve::Arguments),
    Prepare(commands::prepare::Arguments),
    #[cfg(feature = "aws")]
    Train(Box<commands::train::Arguments>),
    #[cfg(feature = "aws")]
    Deploy(commands::deploy::Arguments),
    #[cfg(feature = "aws")]
    Undeploy(commands::undeploy::Arguments),
    #[cfg(feature = "aws")]
    Autoscale(commands::autoscale::Arguments),
    #[cfg(feature = "aws")]
    Invoke(commands::invoke::Arguments),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Export(arguments) => commands::export::run(&arguments),
        Command::Summarize(arguments) => commands::summarize::run(&arguments),
        Command::Inspect(arguments) => commands::inspect::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::Compare(arguments) => commands::compare::run(&arguments),
        Command::Demo(arguments) => commands::demo::run(&arguments),
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::Prepare(arguments) => commands::prepare::run(&arguments),
        #[cfg(feature = "aws")]
        Command::Train(arguments) => commands::train::run(&arguments),
        #[cfg(feature = "aws")]
        Command::Deploy(arguments) => commands::deploy::run(&arguments),
        #[cfg(feature = "aws")]
        Command::Undeploy(arguments) => commands::undeploy::run(&arguments),
        #[cfg(feature = "aws")]
        Command::Autoscale(arguments) => commands::autoscale::run(&arguments),
        #[cfg(feature = "aws")]
        Command::Invoke(arguments) => commands::invoke::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
