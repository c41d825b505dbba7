//! `epitome-bench baseline`

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use epitome_bench::gate::baseline::Baseline;

use super::{Scope, say, tell, trained};

/// Measure a baseline for the gate
#[derive(Args)]
pub(crate) struct Arguments {
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    scope: Scope,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let measures = arguments.scope.measures()?;
    let exported = trained()?;
    let probes = arguments.scope.probes();
    let baseline = Baseline::measure(&probes, &exported.path(), measures, &tell)?;
    baseline.write(&arguments.output)?;
    for &probe in &probes {
        if let Some(normal) = baseline.normal(probe) {
            say(&format!(
                "{probe}: a look scatters by {:.2}%, so that slowdowns of {:.1}% are caught 95 times in 100",
                100.0 * normal.deviation,
                100.0 * normal.caught(probe.worth_finding())
            ))?;
        }
        if let Some(count) = baseline.instructions.get(&probe) {
            say(&format!(
                "{probe}: {:.1} million instructions",
                *count as f64 / 1e6
            ))?;
        }
    }
    Ok(())
}
