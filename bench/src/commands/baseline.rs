//! `epitome-bench baseline`

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use epitome_bench::gate::Probe;
use epitome_bench::gate::baseline::Baseline;

use super::{print, trained};

/// Count instructions, and store them for the gate
#[derive(Args)]
pub(crate) struct Arguments {
    /// File to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let baseline = Baseline::measure(&Probe::ALL, &trained()?.path())?;
    baseline.write(&arguments.output)?;
    for (probe, &count) in &baseline.instructions {
        print(&format!("{probe}: {:.1} million instructions", count as f64 / 1e6))?;
    }
    Ok(())
}
