//! How often the gate is wrong, measured: runs with nothing changed, and runs with a slowdown planted.

use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::baseline::{Baseline, Measures};
use super::instructions;
use super::probe::{Name, Plant};
use super::run::{Finding, Gate, Measure, by_instructions, is_alarm};
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
    /// Runs with all slowdowns planted.
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
    /// Runs, beside these and the planted ones, in which other work kept the gate from telling.
    #[serde(default)]
    pub disturbed: usize,
    /// Those of the unchanged that ended in an alarm.
    pub false_alarms: usize,
    /// The greatest slowdown that a run with nothing changed showed, whether or not it was an alarm; 0
    /// where none showed any.
    pub worst_unchanged: f64,
    /// Each planted slowdown.
    pub planted: Vec<Caught>,
}

impl Study {
    /// Nothing was run yet.
    fn begin(plan: &Plan, baseline: &Baseline) -> Self {
        let caught = |plant: &Plant| Caught {
            probe: plant.probe,
            percent: plant.percent,
            runs: 0,
            caught: 0,
            measured: 0.0,
            deviation: baseline
                .normal(plant.probe)
                .map(|normal| 100.0 * normal.deviation),
            claimed: 0.0,
        };
        let measure = if plan.measures.time {
            "time"
        } else {
            "instructions"
        };
        Self {
            measure: measure.into(),
            machine: Machine::this(),
            versions: Versions::current(),
            seconds: 0.0,
            unchanged: 0,
            disturbed: 0,
            false_alarms: 0,
            worst_unchanged: 0.0,
            planted: plan.plants.iter().map(caught).collect(),
        }
    }

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

/// Runs that one process counts, in a study by instructions: most of a count is loading the model under
/// valgrind, which every run of the gate itself does.
const RUNS_A_PROCESS: usize = 20;

/// The runs of a study, tallied.
struct Tally<'a> {
    study: Study,
    told: &'a dyn Fn(&str),
}

impl Tally<'_> {
    fn unchanged(&mut self, findings: &[Finding]) {
        let study = &mut self.study;
        study.unchanged += 1;
        study.false_alarms += usize::from(is_alarm(findings));
        study.worst_unchanged = findings
            .iter()
            .map(|finding| finding.slowdown)
            .fold(study.worst_unchanged, f64::max);
        (self.told)(&format!(
            "unchanged {}: {} alarms",
            study.unchanged, study.false_alarms
        ));
    }

    fn planted(&mut self, findings: &[Finding]) {
        for finding in findings {
            let planted = &mut self.study.planted;
            if let Some(caught) = planted.iter_mut().find(|c| c.probe == finding.probe) {
                caught.runs += 1;
                caught.caught += usize::from(finding.alarm);
                caught.measured +=
                    (100.0 * finding.slowdown - caught.measured) / caught.runs as f64;
                caught.claimed = 100.0 * finding.caught;
            }
        }
        let counts = self.study.planted.iter();
        let counts: Vec<String> = counts
            .map(|c| format!("{} {} of {}", c.probe, c.caught, c.runs))
            .collect();
        (self.told)(&format!("planted: caught {}", counts.join(", ")));
    }
}

/// Measures a baseline, then the runs, those with and without a plant in turns. `told` hears how far it
/// is, `kept` what is known so far.
///
/// # Errors
///
/// [`Error::Process`](crate::Error::Process) when a measurement fails; those of `kept`.
pub fn study(
    bundle: &Path,
    plan: &Plan,
    told: &dyn Fn(&str),
    kept: &mut dyn FnMut(&Study) -> Result<()>,
) -> Result<()> {
    let start = Instant::now();
    let probes: Vec<Name> = plan.plants.iter().map(|plant| plant.probe).collect();
    let baseline = Baseline::measure(&probes, bundle, plan.measures, told)?;
    let mut tally = Tally {
        study: Study::begin(plan, &baseline),
        told,
    };
    let step = if plan.measures.time {
        1
    } else {
        RUNS_A_PROCESS
    };
    let (mut unchanged, mut planted) = (plan.unchanged, plan.planted);
    while unchanged + planted > 0 {
        // The same share of both, so that what the machine does meanwhile falls on both alike.
        let is_due = unchanged * plan.planted >= planted * plan.unchanged;
        let plants = if unchanged > 0 && is_due {
            [].as_slice()
        } else {
            &plan.plants
        };
        let left = if plants.is_empty() {
            &mut unchanged
        } else {
            &mut planted
        };
        let runs = step.min(*left);
        *left -= runs;
        let gate = Gate {
            baseline: &baseline,
            bundle,
            measures: plan.measures,
            plants,
        };
        let all = if plan.measures.time {
            vec![gate.run()?]
        } else {
            counted(&gate, &probes, runs)?
        };
        for findings in all {
            if findings
                .iter()
                .any(|finding| finding.measure == Measure::Disturbed)
            {
                tally.study.disturbed += 1;
            } else if plants.is_empty() {
                tally.unchanged(&findings);
            } else {
                tally.planted(&findings);
            }
        }
        tally.study.seconds = start.elapsed().as_secs_f64();
        kept(&tally.study)?;
    }
    Ok(())
}

/// Runs of the gate by instructions, all of whose counts one process makes.
fn counted(gate: &Gate<'_>, probes: &[Name], runs: usize) -> Result<Vec<Vec<Finding>>> {
    let counts = instructions::count(probes, gate.bundle, gate.plants, runs)?;
    let run = |index: usize| {
        // What is counted again is the next run's count.
        let mut next = counts[index..].iter().chain(&counts).cloned();
        by_instructions(&gate.baseline.instructions, &mut |suspects| {
            let mut again = next.next().unwrap_or_default();
            again.retain(|probe, _| suspects.contains(probe));
            Ok(again)
        })
    };
    (0..runs).map(run).collect()
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
