//! `epitome-bench gate`

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use epitome_bench::gate::baseline::Baseline;
use epitome_bench::gate::run::{Gate, is_alarm, table};
use epitome_bench::machine::Machine;

use super::{Scope, trained};

/// Compare with a baseline; exit code 1 when something got slower
#[derive(Args)]
pub(crate) struct Arguments {
    /// What `baseline` wrote
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
    #[command(flatten)]
    scope: Scope,
}

/// Whether something got slower.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let mut baseline = Baseline::read(&arguments.baseline)?;
    let mut measures = arguments.scope.measures()?;
    let probes = arguments.scope.probes();
    baseline.time.retain(|probe, _| probes.contains(probe));
    baseline
        .instructions
        .retain(|probe, _| probes.contains(probe));
    if measures.time && !baseline.time.is_empty() && !baseline.is_of(&Machine::this()) {
        eprintln!(
            "note: the baseline is of another processor ({}), so that times are not compared",
            baseline.machine.cpu
        );
        measures.time = false;
    }
    let exported = trained()?;
    let gate = Gate {
        baseline: &baseline,
        bundle: &exported.path(),
        measures,
        plants: &[],
    };
    let findings = gate.run()?;
    if findings.is_empty() {
        bail!(
            "'{}' holds nothing that can be compared here",
            arguments.baseline.display()
        );
    }
    print!("{}", table(&findings));
    let alarm = is_alarm(&findings);
    println!(
        "{}",
        if alarm {
            "Slower than the baseline."
        } else {
            "Nothing got slower."
        }
    );
    Ok(alarm)
}
