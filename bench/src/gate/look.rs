//! One look at the time that probes take, in processes of their own.
//!
//! Where a process happens to lie in memory makes it up to an eighth slower, as does a neighbour on the machine for
//! minutes on end. Both can only make it slower, so a look is several processes, and takes the quickest of each time.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::calibration::{Calibration, Kind};
use super::clock;
use super::probe::{Meter, Name, Piece, Plant, Probe};
use crate::error::{Error, Result};
use crate::statistics::quantile;

/// Times that each probe runs in a look.
pub const ROUNDS: usize = 12;
/// The quantile of a piece's runs that counts.
const QUICK: f64 = 0.1;
/// Holds planted slowdowns, as [`Plant`] writes them, with commas between them. Heeded by the
/// processes that a study starts, and by nothing else.
pub const PLANT_VARIABLE: &str = "EPITOME_BENCH_PLANT";

/// Processes of a look.
pub const PROCESSES: usize = 5;
/// The share of the time that a process must have had a processor to itself. Below, whoever had it in
/// between has emptied the caches too, and ratios tell of them.
const TRUSTED: f64 = 0.9;
/// Looks that a measurement may lose to others before it gives up.
pub const MOST_DISTURBED: usize = 10;

/// The quickest times of a probe and of its calibration load, in seconds on a processor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// A round of the probe.
    pub work: f64,
    /// A run of the load.
    pub load: f64,
}

impl Times {
    /// The logarithm of their ratio.
    pub fn figure(self) -> f64 {
        (self.work / self.load).ln()
    }

    fn quickest(self, other: Self) -> Self {
        Self {
            work: self.work.min(other.work),
            load: self.load.min(other.load),
        }
    }
}

/// The times of each probe. A look that others kept from a processor throughout has none.
pub type Look = BTreeMap<Name, Times>;

/// What one process saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Glance {
    times: Look,
    /// The share of the time, 0 to 1, that the process was on a processor.
    share: f64,
}

/// Times pieces of work, and after each a run of the calibration load.
struct Timing<'a> {
    calibration: &'a Calibration,
    kind: Kind,
    /// Seconds, by the position of the piece in a round.
    pieces: Vec<Vec<f64>>,
    loads: Vec<f64>,
    position: usize,
}

impl<'a> Timing<'a> {
    fn new(calibration: &'a Calibration, kind: Kind) -> Self {
        Self {
            calibration,
            kind,
            pieces: Vec::new(),
            loads: Vec::new(),
            position: 0,
        }
    }

    /// A round over all pieces begins.
    fn round(&mut self) {
        self.position = 0;
    }

    /// What counts is the quickest tenth of the runs: others can only make a run slower, and some of many
    /// runs escape them.
    fn times(&self) -> Times {
        Times {
            work: self.pieces.iter().map(|runs| quantile(runs, QUICK)).sum(),
            load: quantile(&self.loads, QUICK),
        }
    }
}

impl Meter for Timing<'_> {
    fn piece(&mut self, piece: &mut Piece<'_>) -> Result<()> {
        let start = clock::now();
        piece()?;
        let seconds = (clock::now() - start).as_secs_f64();
        if self.position == self.pieces.len() {
            self.pieces.push(Vec::new());
        }
        self.pieces[self.position].push(seconds);
        self.position += 1;
        self.loads
            .push(self.calibration.time(self.kind).as_secs_f64());
        Ok(())
    }
}

/// Looks from within this process. The pieces of a probe's work and runs of its calibration
/// load take turns, so that whatever slows the machine down slows both. All work is on this thread.
///
/// # Errors
///
/// [`Error::Runtime`] when a model cannot be loaded or fails.
pub fn glance(probes: &[Name], bundle: &Path, plants: &[Plant]) -> Result<Glance> {
    let calibration = Calibration::new();
    let mut times = BTreeMap::new();
    let (mut on_processor, mut in_all) = (Duration::ZERO, Duration::ZERO);
    for &name in probes {
        let mut probe = Probe::new(name, bundle, plants)?;
        // The first round finds nothing in any cache, and is not counted.
        probe.run(&mut Timing::new(&calibration, name.calibration()))?;
        let mut timing = Timing::new(&calibration, name.calibration());
        let (start, wall) = (clock::now(), Instant::now());
        for _ in 0..ROUNDS {
            timing.round();
            probe.run(&mut timing)?;
        }
        on_processor += clock::now() - start;
        in_all += wall.elapsed();
        times.insert(name, timing.times());
    }
    Ok(Glance {
        times,
        share: on_processor.as_secs_f64() / in_all.as_secs_f64().max(f64::MIN_POSITIVE),
    })
}

/// Takes a look: [`PROCESSES`] of this program, which must know the command `look`.
///
/// # Errors
///
/// [`Error::Process`] when one fails.
pub fn take(probes: &[Name], bundle: &Path, plants: &[Plant]) -> Result<Look> {
    let mut look = Look::new();
    for _ in 0..PROCESSES {
        let output = own_process("look", probes, bundle, plants)?;
        let glance: Glance = serde_json::from_slice(&output).map_err(|error| Error::Process {
            command: "look".into(),
            problem: format!("it answered no times: {error}"),
        })?;
        if glance.share < TRUSTED {
            continue;
        }
        for (probe, times) in glance.times {
            look.entry(probe)
                .and_modify(|quickest| *quickest = quickest.quickest(times))
                .or_insert(times);
        }
    }
    Ok(look)
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
