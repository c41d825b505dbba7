//! `epitome-bench gate-study`

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use epitome_bench::gate::baseline::Measures;
use epitome_bench::gate::probe::Name;
use epitome_bench::gate::study::{PLANTS, Plan, Study, sentences, study};
use epitome_bench::report::replace;

use super::{By, say, tell, trained};

/// Measure how often the gate is wrong: false alarms, and planted slowdowns that it misses
#[derive(Args)]
pub(crate) struct Arguments {
    /// Where to write what was found
    #[arg(long, value_name = "FILE", default_value = "bench/gate-study.json")]
    output: PathBuf,
    /// Measure by this alone; what the file has of others is kept
    #[arg(long, value_enum, default_value = "both")]
    by: By,
    /// Plant a slowdown in this probe alone, search-loop or decoder-step
    #[arg(long, value_name = "NAME")]
    probe: Option<Name>,
    /// Runs with nothing changed
    #[arg(long, value_name = "N", default_value_t = 200)]
    unchanged: usize,
    /// Runs with slowdowns planted
    #[arg(long, value_name = "N", default_value_t = 100)]
    planted: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut studies: Vec<Study> = fs::read(&arguments.output)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let exported = trained()?;
    for by in [By::Time, By::Instructions] {
        if arguments.by != By::Both && arguments.by != by {
            continue;
        }
        let wanted = |probe| arguments.probe.is_none_or(|only| only == probe);
        let plan = Plan {
            plants: PLANTS
                .into_iter()
                .filter(|plant| wanted(plant.probe))
                .collect(),
            measures: Measures {
                time: by == By::Time,
                instructions: by == By::Instructions,
            },
            unchanged: arguments.unchanged,
            planted: arguments.planted,
        };
        let mut keep = |found: &Study| {
            studies.retain(|other| !found.replaces(other));
            studies.push(found.clone());
            let mut text = serde_json::to_vec_pretty(&studies).expect("plain values become JSON");
            text.push(b'\n');
            replace(&arguments.output, &text)
        };
        study(&exported.path(), &plan, &tell, &mut keep)?;
        if let Some(found) = studies.last() {
            say(&sentences(found))?;
        }
    }
    Ok(())
}
