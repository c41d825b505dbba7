//! The command line of epitome. The binary and other programs that offer it call [`main`];
//! [`operations`] has parts of it for programs without a terminal.

#[cfg(feature = "aws")]
mod account_endpoints;
#[cfg(feature = "aws")]
mod aws;
mod browser;
mod calibrating;
mod column_flags;
mod commands;
mod configuration;
mod exporting;
mod failure;
mod flags;
mod generation_flags;
mod inputs;
mod interrupt;
mod locations;
mod model_choice;
mod model_folder;
pub mod operations;
mod output;
mod output_folder;
mod progress;
#[cfg(feature = "aws")]
mod s3_objects;
#[cfg(feature = "aws")]
mod s3_source;
#[cfg(feature = "aws")]
mod s3_upload;
mod session_flags;
#[cfg(feature = "aws")]
mod state_lines;
#[cfg(any(feature = "aws", feature = "hub"))]
mod table;
pub mod this_program;
#[cfg(feature = "aws")]
mod training_artifact;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use configuration::Configuration;
use epitome_runtime::scratch;

/// Summarize documents with ONNX models from the Hugging Face hub or your own training jobs
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[cfg(feature = "hub")]
    #[command(alias = "download")]
    Pull(commands::pull::Arguments),
    #[cfg(feature = "hub")]
    Models(commands::models::Arguments),
    #[command(alias = "convert")]
    Export(commands::export::Arguments),
    #[command(alias = "summarise")]
    Summarize(commands::summarize::Arguments),
    Inspect(commands::inspect::Arguments),
    Bench(Box<commands::bench::Arguments>),
    #[command(hide = true)]
    BenchWorker(commands::bench_worker::Arguments),
    Compare(commands::compare::Arguments),
    Demo(commands::demo::Arguments),
    Serve(commands::serve::Arguments),
    Mcp(commands::mcp::Arguments),
    Page(commands::page::Arguments),
    Prepare(commands::prepare::Arguments),
    #[command(hide = true)]
    ExtractDocument(commands::extract_document::Arguments),
    #[cfg(feature = "aws")]
    Train(Box<commands::train::Arguments>),
    #[cfg(feature = "aws")]
    Image(commands::image::Arguments),
    #[cfg(feature = "aws")]
    Deploy(Box<commands::deploy::Arguments>),
    #[cfg(feature = "aws")]
    Transform(Box<commands::transform::Arguments>),
    #[cfg(feature = "aws")]
    Status(commands::status::Arguments),
    #[cfg(feature = "aws")]
    Undeploy(commands::undeploy::Arguments),
    #[cfg(feature = "aws")]
    Autoscale(commands::autoscale::Arguments),
    #[cfg(feature = "aws")]
    Invoke(commands::invoke::Arguments),
    Doctor(commands::doctor::Arguments),
    Completions(commands::completions::Arguments),
    Man(commands::man::Arguments),
}

/// Runs the command that the arguments name, and ends the process. The first argument is the
/// program's own name. Exit codes: 0 for success, 1 for a failure, 2 for a wrong call, 3 for a
/// limit that is not kept, 4 for a machine too noisy to tell, 130 for an interruption.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ! {
    let code = run(arguments);
    let _ = io::stdout().flush();
    // A thread of a server may still be loading a model.
    scratch::remove_all_and_exit(code.into())
}

/// Runs the command, and returns the exit code. Wrong arguments end the process, as `--help` does.
fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    this_program::note_arguments(arguments.get(1..).unwrap_or_default());
    let command = flags::each(Cli::command(), flags::without_empty_variables);
    let command = flags::each(command, flags::with_underscores);
    let (configuration, mistake) = match Configuration::read() {
        Ok(configuration) => (configuration, None),
        Err(error) => (Configuration::default(), Some(error)),
    };
    let matches = configuration.apply(command).get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // The doctor shows a mistake in the file with its other findings.
    if let Some(error) = mistake.filter(|_| !matches!(cli.command, Command::Doctor(_))) {
        return failure::report(&error);
    }
    // A server stops by itself, and its supervisor passes signals on. The process that reads a
    // document keeps nothing.
    if !matches!(cli.command, Command::Serve(_) | Command::ExtractDocument(_)) {
        interrupt::clean_up();
    }
    let result = match cli.command {
        #[cfg(feature = "hub")]
        Command::Pull(arguments) => commands::pull::run(&arguments),
        #[cfg(feature = "hub")]
        Command::Models(arguments) => commands::models::run(&arguments),
        Command::Export(arguments) => commands::export::run(&arguments),
        Command::Summarize(arguments) => commands::summarize::run(&arguments),
        Command::Inspect(arguments) => commands::inspect::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::BenchWorker(arguments) => commands::bench_worker::run(&arguments),
        Command::Compare(arguments) => commands::compare::run(&arguments),
        Command::Demo(arguments) => commands::demo::run(&arguments),
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::Mcp(arguments) => commands::mcp::run(&arguments),
        Command::Page(arguments) => commands::page::run(&arguments),
        Command::Prepare(arguments) => commands::prepare::run(&arguments),
        Command::ExtractDocument(arguments) => {
            return commands::extract_document::run(&arguments);
        }
        Command::Doctor(arguments) => commands::doctor::run(&arguments),
        Command::Completions(arguments) => commands::completions::run(&arguments, Cli::command()),
        Command::Man(arguments) => commands::man::run(&arguments, Cli::command()),
        #[cfg(feature = "aws")]
        Command::Train(arguments) => commands::train::run(&arguments),
        #[cfg(feature = "aws")]
        Command::Image(arguments) => commands::image::run(&arguments),
        #[cfg(feature = "aws")]
        Command::Deploy(arguments) => commands::deploy::run(&arguments),
        #[cfg(feature = "aws")]
        Command::Transform(arguments) => commands::transform::run(&arguments),
        #[cfg(feature = "aws")]
        Command::Status(arguments) => commands::status::run(&arguments),
        #[cfg(feature = "aws")]
        Command::Undeploy(arguments) => commands::undeploy::run(&arguments),
        #[cfg(feature = "aws")]
        Command::Autoscale(arguments) => commands::autoscale::run(&arguments),
        #[cfg(feature = "aws")]
        Command::Invoke(arguments) => commands::invoke::run(&arguments),
    };
    match result {
        Ok(()) => 0,
        Err(error) => failure::report(&error),
    }
}
