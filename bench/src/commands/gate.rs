//! `epitome-bench gate`

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use epitome_bench::gate::baseline::Baseline;
use epitome_bench::gate::run::{Gate, is_alarm, table, untold};
use epitome_bench::machine::{Build, Machine};

use super::{Scope, say, trained};

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
    let (machine, build) = (Machine::this(), Build::this());
    let refused = |wanted: &mut bool, what: &str, reason: Option<String>| {
        if let Some(reason) = reason.filter(|_| *wanted) {
            eprintln!("note: {what} are not compared with the baseline: {reason}");
            *wanted = false;
        }
    };
    measures.time &= !baseline.time.is_empty();
    measures.instructions &= !baseline.instructions.is_empty();
    let times = baseline.times_of_another(&machine, &build);
    refused(&mut measures.time, "times", times);
    let counts = baseline.counts_of_another(&machine, &build);
    refused(&mut measures.instructions, "instructions", counts);
    if !measures.time && !measures.instructions {
        bail!(
            "'{}' holds nothing that can be compared here: make it again (`baseline`, on the commit it was made on)",
            arguments.baseline.display()
        );
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
            "'{}' holds too few looks to compare with: make it again",
            arguments.baseline.display()
        );
    }
    let alarm = is_alarm(&findings);
    let verdict = if alarm {
        "Slower than the baseline. Where that is what the change is meant to cost, make the baseline \
         again with `baseline` and commit it with the change."
    } else {
        "Nothing got slower."
    };
    let untold = untold(&findings);
    if !alarm && !untold.is_empty() {
        say(&table(&findings))?;
        let names: Vec<String> = untold.iter().map(ToString::to_string).collect();
        bail!(
            "the machine is too busy for times of {} to be compared: try later, or --by instructions",
            names.join(", ")
        );
    }
    say(&format!("{}{verdict}", table(&findings)))?;
    Ok(alarm)
}
