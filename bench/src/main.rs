//! The `epitome-bench` command: measurements of this repository's own code. For a user's model there is
//! `epitome bench`.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures epitome itself: run it with `cargo run --release -p bench --`.
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
    GateStudy(commands::gate_study::Arguments),
    Picture(commands::picture::Arguments),
    Record(commands::record::Arguments),
    History(commands::history::Arguments),
    RandomModel(commands::random_model::Arguments),
    Roofline(commands::roofline::Arguments),
    Worker(commands::worker::Arguments),
    Look(commands::measure::Arguments),
    Count(commands::measure::Arguments),
}

/// Something got slower.
const SLOWER: u8 = 1;
/// It could not be measured.
const FAILURE: u8 = 2;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Gate(arguments) => match commands::gate::run(&arguments) {
            Ok(true) => return ExitCode::from(SLOWER),
            other => other.map(|_| ()),
        },
        Command::Baseline(arguments) => commands::baseline::run(&arguments),
        Command::GateStudy(arguments) => commands::gate_study::run(&arguments),
        Command::Picture(arguments) => commands::picture::run(&arguments),
        Command::Record(arguments) => commands::record::run(&arguments),
        Command::History(arguments) => commands::history::run(&arguments),
        Command::RandomModel(arguments) => commands::random_model::run(&arguments),
        Command::Roofline(arguments) => commands::roofline::run(&arguments),
        Command::Worker(arguments) => commands::worker::run(&arguments),
        Command::Look(arguments) => commands::measure::look(&arguments),
        Command::Count(arguments) => commands::measure::count(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("epitome-bench: {error:#}");
            ExitCode::from(FAILURE)
        }
    }
}
