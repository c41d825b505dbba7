//! One look at the time that probes take, in a process of its own.

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

/// The share of the time that a look must have had a processor to itself. Below, whoever had it in
/// between has emptied the caches too, and ratios tell of them.
const TRUSTED: f64 = 0.9;
/// Looks that a measurement may lose to others before it gives up.
pub const MOST_DISTURBED: usize = 10;

/// What one look saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// The logarithm of each probe's time over that of its calibration load.
    pub figures: BTreeMap<Name, f64>,
    /// The share of the time, 0 to 1, that the look was on a processor.
    pub share: f64,
}

impl Look {
    /// Whether its figures tell of the work, and not of what else the machine does.
    pub fn is_trusted(&self) -> bool {
        self.share >= TRUSTED
    }
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

    /// The logarithm of a round's time over that of a calibration load. What counts of both are their
    /// quickest tenth: others can only make a run slower, and some of many runs escape them.
    fn figure(&self) -> f64 {
        let round: f64 = self.pieces.iter().map(|runs| quantile(runs, QUICK)).sum();
        (round / quantile(&self.loads, QUICK)).ln()
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

/// Takes a look from within this process. The pieces of a probe's work and runs of its calibration
/// load take turns, so that whatever slows the machine down slows both. All work is on this thread.
///
/// # Errors
///
/// [`Error::Runtime`] when a model cannot be loaded or fails.
pub fn take(probes: &[Name], bundle: &Path, plants: &[Plant]) -> Result<Look> {
    let calibration = Calibration::new();
    let mut figures = BTreeMap::new();
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
        figures.insert(name, timing.figure());
    }
    Ok(Look {
        figures,
        share: on_processor.as_secs_f64() / in_all.as_secs_f64().max(f64::MIN_POSITIVE),
    })
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
