//! How often the gate is wrong, measured: runs with nothing changed, and runs with a slowdown planted.

use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::baseline::{Baseline, Measures};
use super::probe::{Name, Plant};
use super::run::{Gate, is_alarm};
use crate::error::Result;
use crate::machine::{Machine, Versions};

/// The slowdowns that a study plants.
pub const PLANTS: [Plant; 2] = [
    Plant {
        probe: Name::SearchLoop,
        percent: 5.0,
    },
    Plant {
        probe: Name::DecoderStep,
        percent: 10.0,
    },
];

/// What to study.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The slowdowns to plant, one a probe.
    pub plants: Vec<Plant>,
    /// How probes are measured.
    pub measures: Measures,
    /// Runs with nothing changed.
    pub unchanged: usize,
    /// Runs with both slowdowns planted.
    pub planted: usize,
}

/// What a study found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// `time` or `instructions`.
    pub measure: String,
    /// Where it was measured.
    pub machine: Machine,
    /// With what.
    pub versions: Versions,
    /// Seconds it took.
    pub seconds: f64,
    /// Runs with nothing changed.
    pub unchanged: usize,
    /// Those of them that ended in an alarm.
    pub false_alarms: usize,
    /// The greatest slowdown that a run with nothing changed showed, whether or not it was an alarm.
    pub worst_unchanged: f64,
    /// Each planted slowdown.
    pub planted: Vec<Caught>,
}

impl Study {
    /// Whether it is of the same measure and the same probes as another.
    pub fn replaces(&self, other: &Self) -> bool {
        let probes = |study: &Self| study.planted.iter().map(|c| c.probe).collect::<Vec<_>>();
        self.measure == other.measure && probes(self) == probes(other)
    }
}

/// How often a planted slowdown was caught.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Caught {
    /// The probe it was planted in.
    pub probe: Name,
    /// By how many percent.
    pub percent: f64,
    /// Runs.
    pub runs: usize,
    /// Those in which it was caught.
    pub caught: usize,
    /// The mean slowdown that was measured, in percent.
    pub measured: f64,
    /// The scatter of a look with nothing changed, in percent; none for instructions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deviation: Option<f64>,
    /// The slowdown that the gate said it would catch, in percent.
    pub claimed: f64,
}

/// Measures a baseline, then the runs. `told` hears how far it is.
///
/// # Errors
///
/// [`Error::Process`](crate::Error::Process) when a measurement fails.
pub fn study(bundle: &Path, plan: &Plan, told: &dyn Fn(&str)) -> Result<Study> {
    let start = Instant::now();
    let probes: Vec<Name> = plan.plants.iter().map(|plant| plant.probe).collect();
    let baseline = Baseline::measure(&probes, bundle, plan.measures, told)?;
    let gate = |plants| Gate {
        baseline: &baseline,
        bundle,
        measures: plan.measures,
        plants,
    };
    let mut false_alarms = 0;
    let mut worst_unchanged = f64::NEG_INFINITY;
    for run in 0..plan.unchanged {
        let findings = gate(&[]).run()?;
        false_alarms += usize::from(is_alarm(&findings));
        worst_unchanged = findings
            .iter()
            .map(|f| f.slowdown)
            .fold(worst_unchanged, f64::max);
        told(&format!(
            "unchanged {} of {}: {false_alarms} alarms",
            run + 1,
            plan.unchanged
        ));
    }
    let nothing_yet = |plant: &Plant| Caught {
        probe: plant.probe,
        percent: plant.percent,
        runs: plan.planted,
        caught: 0,
        measured: 0.0,
        deviation: baseline
            .normal(plant.probe)
            .map(|normal| 100.0 * normal.deviation),
        claimed: 0.0,
    };
    let mut planted: Vec<Caught> = plan.plants.iter().map(nothing_yet).collect();
    for run in 0..plan.planted {
        let findings = gate(&plan.plants).run()?;
        for finding in &findings {
            if let Some(caught) = planted.iter_mut().find(|c| c.probe == finding.probe) {
                caught.caught += usize::from(finding.alarm);
                caught.measured += 100.0 * finding.slowdown / plan.planted as f64;
                caught.claimed = 100.0 * finding.caught;
            }
        }
        let counts: Vec<String> = planted
            .iter()
            .map(|c| format!("{} {}", c.probe, c.caught))
            .collect();
        told(&format!(
            "planted {} of {}: caught {}",
            run + 1,
            plan.planted,
            counts.join(", ")
        ));
    }
    Ok(Study {
        measure: if plan.measures.time {
            "time"
        } else {
            "instructions"
        }
        .into(),
        machine: Machine::this(),
        versions: Versions::current(),
        seconds: start.elapsed().as_secs_f64(),
        unchanged: plan.unchanged,
        false_alarms,
        worst_unchanged,
        planted,
    })
}

/// The study in sentences.
pub fn sentences(study: &Study) -> String {
    let mut text = format!(
        "By {}: {} false alarms in {} runs with nothing changed (the greatest change shown was {:+.2}%).",
        study.measure,
        study.false_alarms,
        study.unchanged,
        100.0 * study.worst_unchanged
    );
    for caught in &study.planted {
        text += &format!(
            " A slowdown of {}% planted in {}: caught in {} of {} runs (measured as {:+.2}%).",
            caught.percent, caught.probe, caught.caught, caught.runs, caught.measured
        );
    }
    text
}
