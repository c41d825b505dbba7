//! `epitome-bench gate`

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use epitome_bench::gate::baseline::{Baseline, Build};
use epitome_bench::gate::check::{Change, check, table};
use epitome_bench::gate::counting::count;
use epitome_evaluation::machine::Machine;

use super::{print, trained};

/// Compare instruction counts with a baseline; exit code 1 when something got slower
#[derive(Args)]
pub(crate) struct Arguments {
    /// File that `baseline` wrote
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
}

/// Compares, and returns whether something got slower.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let path = &arguments.baseline;
    let baseline = Baseline::read(path)?;
    if let Some(difference) = baseline.difference(&Machine::this(), &Build::this()) {
        bail!(
            "cannot compare with '{}': {difference}; make it again with `baseline` on its commit",
            path.display()
        );
    }
    let exported = trained()?;
    let bundle = exported.path();
    let changes = check(&baseline.instructions, &mut |probes| count(probes, &bundle))?;
    let slower = changes.iter().any(Change::is_slower);
    let verdict = if slower {
        "Slower than the baseline. If the change is meant to cost that, make the baseline again \
         with `baseline` and commit it with the change."
    } else {
        "Nothing got slower."
    };
    print(&format!("{}{verdict}", table(&changes)))?;
    Ok(slower)
}
