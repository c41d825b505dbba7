//! One look at the time that probes take, in a process of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::{env, str};

use super::calibration::Calibration;
use super::probe::{Name, Plant, Probe, own};
use crate::error::{Error, Result};
use crate::statistics::quantile;

/// Times that each probe runs in a look.
pub const ROUNDS: usize = 12;
/// The quantile of its runs that counts.
const QUICK: f64 = 0.1;
/// Holds planted slowdowns, as [`Plant`] writes them, with commas between them. Heeded by the
/// processes that a study starts, and by nothing else.
pub const PLANT_VARIABLE: &str = "EPITOME_BENCH_PLANT";

/// The logarithm of each probe's time over that of its calibration load.
pub type Look = BTreeMap<Name, f64>;

/// Takes a look from within this process. The pieces of a probe's work and runs of its calibration
/// load take turns, so that whatever slows the machine down slows both. What counts of each are its
/// quickest tenth: others can only make a run slower, and some of many runs escape them.
///
/// # Errors
///
/// [`Error::Runtime`] when a model cannot be loaded or fails.
pub fn take(probes: &[Name], bundle: &Path, plants: &[Plant]) -> Result<Look> {
    let calibration = Calibration::new();
    let mut look = Look::new();
    for &name in probes {
        let mut probe = Probe::new(name, bundle, &[])?;
        let percent: f64 = own(plants, name).map(|plant| plant.percent).sum();
        let (mut pieces, mut loads) = (Vec::new(), Vec::new());
        // The first round finds nothing in any cache, and is not counted.
        for round in 0..=ROUNDS {
            probe.run(&mut |piece| {
                // A planted slowdown makes each piece so much longer.
                pieces.push(piece.as_secs_f64() * (1.0 + percent / 100.0));
                loads.push(calibration.time(name.calibration()).as_secs_f64());
            })?;
            if round == 0 {
                pieces.clear();
                loads.clear();
            }
        }
        look.insert(
            name,
            (quantile(&pieces, QUICK) / quantile(&loads, QUICK)).ln(),
        );
    }
    Ok(look)
}

/// Takes a look in a new process of this program, which must know the command `look`.
///
/// # Errors
///
/// [`Error::Process`] when it fails.
pub fn take_apart(probes: &[Name], bundle: &Path, plants: &[Plant]) -> Result<Look> {
    let output = own_process("look", probes, bundle, plants)?;
    serde_json::from_slice(&output).map_err(|error| Error::Process {
        command: "look".into(),
        problem: format!("it answered no figures: {error}"),
    })
}

fn own_process(command: &str, probes: &[Name], bundle: &Path, plants: &[Plant]) -> Result<Vec<u8>> {
    let program = env::current_exe().map_err(Error::io("this program"))?;
    let mut process = Command::new(program);
    process.arg(command).arg("--bundle").arg(bundle);
    for probe in probes {
        process.arg("--probe").arg(probe.to_string());
    }
    run(process.env(PLANT_VARIABLE, list(plants)), command)
}

/// Plants as the variable holds them.
pub(super) fn list(plants: &[Plant]) -> String {
    plants
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

/// The slowdowns that the environment plants into this process.
///
/// # Errors
///
/// [`Error::Settings`] when they cannot be read.
pub fn planted() -> Result<Vec<Plant>> {
    let text = env::var(PLANT_VARIABLE).unwrap_or_default();
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(str::parse)
        .collect()
}

/// Runs a process to its end, and returns what it printed.
pub(super) fn run(process: &mut Command, name: &str) -> Result<Vec<u8>> {
    let failed = |problem: String| Error::Process {
        command: name.into(),
        problem,
    };
    let output = process
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing");
    Err(failed(format!("{}: {last}", output.status)))
}
