//! `epitome-bench look` and `count`: what the gate runs in processes of their own.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use epitome_bench::gate::probe::Name;
use epitome_bench::gate::{instructions, look};

/// Measure once, for the gate
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct Arguments {
    #[arg(long, value_name = "NAME", required = true)]
    probe: Vec<Name>,
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
}

/// Prints the figures of a look.
pub(crate) fn look(arguments: &Arguments) -> Result<()> {
    let look = look::take(&arguments.probe, &arguments.bundle, &look::planted()?)?;
    println!("{}", serde_json::to_string(&look)?);
    Ok(())
}

/// Works, for callgrind to count.
pub(crate) fn count(arguments: &Arguments) -> Result<()> {
    let plants = look::planted()?;
    arguments
        .probe
        .iter()
        .try_for_each(|&probe| Ok(instructions::work(probe, &arguments.bundle, &plants)?))
}
