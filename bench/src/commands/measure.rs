//! `epitome-bench look` and `count`: what the gate runs in processes of their own.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use epitome_bench::gate::probe::Name;
use epitome_bench::gate::{instructions, look};

use super::say;

/// Measure once, for the gate
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct Arguments {
    #[arg(long, value_name = "NAME", required = true)]
    probe: Vec<Name>,
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: usize,
}

/// Prints one process's part of a look.
pub(crate) fn look(arguments: &Arguments) -> Result<()> {
    let glance = look::glance(&arguments.probe, &arguments.bundle, &look::planted()?)?;
    say(&serde_json::to_string(&glance)?)
}

/// Works, for callgrind to count.
pub(crate) fn count(arguments: &Arguments) -> Result<()> {
    let plants = look::planted()?;
    let Arguments {
        probe,
        bundle,
        runs,
    } = arguments;
    Ok(instructions::work(probe, bundle, &plants, *runs)?)
}
