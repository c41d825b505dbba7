//! The stored figures that a commit is compared with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::calibration;
use super::decision::{FEWEST_LOOKS, Normal};
use super::instructions::{self, Counts};
use super::look::{self, Times};
use super::probe::Name;
use crate::error::{Error, Result};
use crate::machine::{Build, Machine, Versions};
use crate::report::replace;
use crate::statistics::quantile;

/// Version of the format of a baseline.
const FORMAT: u32 = 3;
/// Looks that a new baseline is made from.
pub const LOOKS: usize = 30;
/// By how much of itself a calibration load may be slower or quicker than the baseline's. Beyond, the machine is in another
/// state (a neighbour in its caches, another clock), in which work and load do not slow down alike.
const STEADY: f64 = 0.03;

/// A baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Version of the format.
    pub format: u32,
    /// Version of the calibration loads that times are ratios to.
    pub calibration: u32,
    /// Where it was measured.
    pub machine: Machine,
    /// With what.
    pub versions: Versions,
    /// How the program was built that measured it.
    pub build: Build,
    /// Times, look by look.
    pub time: BTreeMap<Name, Vec<Times>>,
    /// Instructions.
    pub instructions: Counts,
}

/// What of a probe is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measures {
    /// Its time.
    pub time: bool,
    /// Its instructions.
    pub instructions: bool,
}

impl Baseline {
    /// Measures one now. `told` hears what is being done.
    ///
    /// # Errors
    ///
    /// [`Error::Process`] when a measurement fails.
    pub fn measure(
        probes: &[Name],
        bundle: &Path,
        measures: Measures,
        told: &dyn Fn(&str),
    ) -> Result<Self> {
        let mut time: BTreeMap<Name, Vec<Times>> = BTreeMap::new();
        if measures.time {
            for number in 1..=LOOKS {
                told(&format!("look {number} of {LOOKS}"));
                for (probe, times) in look::take(probes, bundle, &[])? {
                    time.entry(probe).or_default().push(times);
                }
            }
            for &probe in probes {
                let steady = steady(looks_at(&time, probe)).count();
                if steady >= FEWEST_LOOKS {
                    continue;
                }
                let problem = format!(
                    "times of {probe} cannot be trusted here: its calibration load was steady in {steady} of {LOOKS} \
                     looks only"
                );
                if !measures.instructions {
                    return Err(Error::Settings(format!(
                        "{problem}; measure when the machine is less busy, or by instructions"
                    )));
                }
                told(&format!("{problem}; they are left out"));
                time.remove(&probe);
            }
        }
        let mut instructions = Counts::new();
        if measures.instructions {
            told("instructions");
            let counts = instructions::count(probes, bundle, &[], 1)?;
            instructions.extend(counts.into_iter().flatten());
        }
        Ok(Self {
            time,
            instructions,
            ..Self::empty()
        })
    }

    /// One that holds nothing yet.
    pub fn empty() -> Self {
        Self {
            format: FORMAT,
            calibration: calibration::VERSION,
            machine: Machine::this(),
            versions: Versions::current(),
            build: Build::this(),
            time: BTreeMap::new(),
            instructions: Counts::new(),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], or [`Error::Baseline`] when it is none, or of another version.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |problem: String| Error::Baseline {
            path: path.to_owned(),
            problem,
        };
        /// What every version writes.
        #[derive(Deserialize)]
        struct Made {
            format: u32,
            calibration: u32,
        }
        let text = fs::read(path).map_err(Error::io(path))?;
        let no_baseline = |error| wrong(format!("it is no baseline: {error}"));
        let made: Made = serde_json::from_slice(&text).map_err(no_baseline)?;
        if (made.format, made.calibration) != (FORMAT, calibration::VERSION) {
            return Err(wrong(
                "it was made by another version of the gate: make it again".into(),
            ));
        }
        serde_json::from_slice(&text).map_err(no_baseline)
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).expect("plain values become JSON");
        text.push(b'\n');
        replace(path, &text)
    }

    /// Why times cannot be compared with it on this machine; none where they can.
    pub fn times_of_another(&self, machine: &Machine, build: &Build) -> Option<String> {
        if (&self.machine.cpu, &self.machine.arch) != (&machine.cpu, &machine.arch) {
            return Some(format!("it is of another processor ({})", self.machine.cpu));
        }
        self.other_settings(build)
    }

    /// Why instructions cannot be compared with it on this machine; none where they can. The processor
    /// does not matter, since valgrind shows the same to every program.
    pub fn counts_of_another(&self, machine: &Machine, build: &Build) -> Option<String> {
        if (&self.machine.os, &self.machine.arch) != (&machine.os, &machine.arch) {
            let Machine { os, arch, .. } = &self.machine;
            return Some(format!("it is of another system ({os} on {arch})"));
        }
        if self.build.rustc != build.rustc {
            let (then, now) = (&self.build.rustc, &build.rustc);
            return Some(format!("it was built by {then}, and this program by {now}"));
        }
        self.other_settings(build)
    }

    fn other_settings(&self, build: &Build) -> Option<String> {
        let (then, now) = (&self.build.opt_level, &build.opt_level);
        (then != now).then(|| {
            format!("it was built with opt-level {then}, and this program with {now}: --release makes the difference")
        })
    }

    /// What figures of a probe are when nothing has changed; none when too little is known.
    pub fn normal(&self, probe: Name) -> Option<Normal> {
        let looks = steady(looks_at(&self.time, probe));
        Normal::of(&looks.map(Times::figure).collect::<Vec<_>>())
    }

    /// Whether a look at a probe found the machine in the state it was in for this baseline.
    pub fn is_steady(&self, probe: Name, times: Times) -> bool {
        is_near(times, quick_load(looks_at(&self.time, probe)))
    }
}

/// The looks at a probe; none where it was not looked at.
fn looks_at(time: &BTreeMap<Name, Vec<Times>>, probe: Name) -> &[Times] {
    time.get(&probe).map_or(&[], Vec::as_slice)
}

/// The looks of a baseline that found the machine in its best state.
fn steady(looks: &[Times]) -> impl Iterator<Item = Times> {
    let quick = quick_load(looks);
    looks
        .iter()
        .copied()
        .filter(move |times| is_near(*times, quick))
}

/// The load of the quickest tenth: one lucky look must not make all others unsteady.
fn quick_load(looks: &[Times]) -> f64 {
    let loads: Vec<f64> = looks.iter().map(|times| times.load).collect();
    match loads.is_empty() {
        true => f64::INFINITY,
        false => quantile(&loads, 0.1),
    }
}

fn is_near(times: Times, load: f64) -> bool {
    (times.load / load - 1.0).abs() <= STEADY
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        work: 8e-3,
        load: 1e-3,
    };

    #[test]
    fn looks_at_a_machine_in_another_state_do_not_count() {
        let with_load = |load| Times { load, ..TIMES };
        let mut baseline = baseline();
        assert!(baseline.is_steady(Name::SearchLoop, with_load(1.02e-3)));
        assert!(!baseline.is_steady(Name::SearchLoop, with_load(1.04e-3)));
        assert!(!baseline.is_steady(Name::SearchLoop, with_load(0.96e-3)));
        assert!(!baseline.is_steady(Name::DecoderStep, TIMES));
        let looks = baseline.time.get_mut(&Name::SearchLoop).expect("there");
        looks.extend([with_load(2e-3); LOOKS]);
        let normal = baseline.normal(Name::SearchLoop).expect("enough looks");
        assert_eq!(normal.centre, 8.0_f64.ln());
        let looks = baseline.time.get_mut(&Name::SearchLoop).expect("there");
        looks.push(with_load(0.5e-3));
        assert_eq!(baseline.normal(Name::SearchLoop), Some(normal));
        let looks = baseline.time.get_mut(&Name::SearchLoop).expect("there");
        *looks = (0..LOOKS as i32)
            .map(|number| with_load(1e-3 * 1.1_f64.powi(number)))
            .collect();
        assert_eq!(baseline.normal(Name::SearchLoop), None);
    }

    fn baseline() -> Baseline {
        Baseline {
            format: FORMAT,
            calibration: calibration::VERSION,
            machine: Machine {
                cpu: "a".into(),
                ..Default::default()
            },
            versions: Versions::default(),
            build: Build::this(),
            time: [(Name::SearchLoop, vec![TIMES; LOOKS])].into(),
            instructions: [(Name::DecoderStep, 1000)].into(),
        }
    }

    #[test]
    fn a_baseline_survives_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("baseline.json");
        baseline().write(&path).expect("written");
        assert_eq!(Baseline::read(&path).expect("read"), baseline());
        assert!(baseline().normal(Name::SearchLoop).is_some());
        assert!(baseline().normal(Name::DecoderStep).is_none());
    }

    #[test]
    fn what_cannot_be_compared_is_told() {
        let (machine, build) = (baseline().machine, Build::this());
        assert_eq!(baseline().times_of_another(&machine, &build), None);
        assert_eq!(baseline().counts_of_another(&machine, &build), None);
        let other = Machine {
            cpu: "b".into(),
            ..Default::default()
        };
        let times = baseline().times_of_another(&other, &build);
        assert!(times.expect("told").contains("another processor (a)"));
        assert_eq!(baseline().counts_of_another(&other, &build), None);
        let newer = Build {
            rustc: "rustc 9".into(),
            ..Build::this()
        };
        let counts = baseline().counts_of_another(&machine, &newer);
        assert!(counts.expect("told").ends_with("this program by rustc 9"));
        assert_eq!(baseline().times_of_another(&machine, &newer), None);
        let unoptimized = Build {
            opt_level: "none".into(),
            ..Build::this()
        };
        for reason in [
            baseline().times_of_another(&machine, &unoptimized),
            baseline().counts_of_another(&machine, &unoptimized),
        ] {
            assert!(reason.expect("told").contains("opt-level"));
        }
    }

    #[test]
    fn this_repositorys_own_can_be_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.json");
        let baseline = Baseline::read(&path).expect("read");
        assert!(!baseline.instructions.is_empty());
    }

    #[test]
    fn what_is_no_baseline_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("baseline.json");
        let old = Baseline {
            calibration: calibration::VERSION + 1,
            ..baseline()
        };
        old.write(&path).expect("written");
        let message = Baseline::read(&path).expect_err("refused").to_string();
        assert!(message.contains("make it again"), "{message}");
        fs::write(&path, "{").expect("written");
        assert!(matches!(Baseline::read(&path), Err(Error::Baseline { .. })));
        assert!(matches!(
            Baseline::read(folder.path().join("none").as_path()),
            Err(Error::Io { .. })
        ));
    }
}
