//! `epitome-bench count`, which the gate runs under valgrind.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use epitome_bench::gate::{Probe, counting};

/// Run probes for callgrind to count
#[derive(Args)]
#[command(name = counting::SUBCOMMAND, hide = true)]
pub(crate) struct Arguments {
    #[arg(long, value_name = "NAME", required = true)]
    probe: Vec<Probe>,
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    counting::work(&arguments.probe, &arguments.bundle)
}
