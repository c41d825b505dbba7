//! The `epitome-bench` command measures the code of this repository. To measure a model, use
//! `epitome bench`.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures epitome's own code: run it with `cargo run --release -p epitome-bench --`.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Gate(commands::gate::Arguments),
    Baseline(commands::baseline::Arguments),
    Picture(commands::picture::Arguments),
    RandomModel(commands::random_model::Arguments),
    Roofline(commands::roofline::Arguments),
    Worker(commands::worker::Arguments),
    Count(commands::count::Arguments),
}

/// Exit code if something got slower.
const SLOWER: u8 = 1;
/// Exit code if the measurement failed.
const FAILURE: u8 = 2;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Gate(arguments) => match commands::gate::run(&arguments) {
            Ok(true) => return ExitCode::from(SLOWER),
            other => other.map(|_| ()),
        },
        Command::Baseline(arguments) => commands::baseline::run(&arguments),
        Command::Picture(arguments) => commands::picture::run(&arguments),
        Command::RandomModel(arguments) => commands::random_model::run(&arguments),
        Command::Roofline(arguments) => commands::roofline::run(&arguments),
        Command::Worker(arguments) => commands::worker::run(&arguments),
        Command::Count(arguments) => commands::count::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("epitome-bench: {error:#}");
            ExitCode::from(FAILURE)
        }
    }
}
