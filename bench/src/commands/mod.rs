//! One file a subcommand.

pub(crate) mod baseline;
pub(crate) mod gate;
pub(crate) mod gate_study;
pub(crate) mod history;
pub(crate) mod measure;
pub(crate) mod picture;
pub(crate) mod random_model;
pub(crate) mod record;
pub(crate) mod roofline;
pub(crate) mod worker;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use epitome_bench::gate::baseline::Measures;
use epitome_bench::gate::instructions;
use epitome_bench::gate::probe::Name;
use epitome_bench::models::Exported;

/// What to measure, as the gate and its baseline have it.
#[derive(Args)]
pub(crate) struct Scope {
    /// How to measure [default: both where valgrind is installed, time alone elsewhere]
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Only this probe; may be repeated
    #[arg(long, value_name = "NAME")]
    probe: Vec<Name>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Counted by valgrind: the same on a busy machine
    Instructions,
    /// As a ratio to a calibration load
    Time,
    /// Each of them
    Both,
}

impl Scope {
    /// What to measure of each probe.
    pub(crate) fn measures(&self) -> Result<Measures> {
        let counts = instructions::valgrind().is_some();
        let by = self.by.unwrap_or(if counts { By::Both } else { By::Time });
        if by != By::Time && !counts {
            bail!(
                "instructions cannot be counted without valgrind: install it (apt-get install valgrind), or give --by time"
            );
        }
        Ok(Measures {
            time: by != By::Instructions,
            instructions: by != By::Time,
        })
    }

    /// The probes that were asked for, or all.
    pub(crate) fn probes(&self) -> Vec<Name> {
        if self.probe.is_empty() {
            Name::ALL.to_vec()
        } else {
            self.probe.clone()
        }
    }
}

/// The trained model, exported for this run.
pub(crate) fn trained() -> Result<Exported> {
    eprintln!("Exporting the trained model ...");
    Ok(Exported::trained()?)
}

/// Prints to standard output. Whoever closes the pipe has seen enough, and the work goes on.
pub(crate) fn say(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// A line on standard error for each step of long work.
pub(crate) fn tell(what: &str) {
    eprintln!("{what}");
}

/// The folder of the history.
pub(crate) fn history_folder() -> PathBuf {
    PathBuf::from("bench/history")
}
