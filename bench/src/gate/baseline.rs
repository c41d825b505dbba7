//! The stored figures that a commit is compared with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::calibration;
use super::decision::Normal;
use super::instructions::{self, Counts};
use super::look::{Look, MOST_DISTURBED, take_apart};
use super::probe::Name;
use crate::error::{Error, Result};
use crate::machine::{Build, Machine, Versions};
use crate::report::replace;

/// Version of the format of a baseline.
const FORMAT: u32 = 2;
/// Looks that a new baseline is made from.
pub const LOOKS: usize = 30;

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
    /// Logarithms of ratios of time, look by look.
    pub time: BTreeMap<Name, Vec<f64>>,
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
        let mut time: BTreeMap<Name, Vec<f64>> = BTreeMap::new();
        let mut looks = if measures.time { LOOKS } else { 0 };
        let mut disturbed = 0;
        while looks > 0 {
            told(&format!("look {} of {LOOKS}", LOOKS - looks + 1));
            let look = take_apart(probes, bundle, &[])?;
            if look.is_trusted() {
                add(&mut time, &look);
                looks -= 1;
            } else {
                disturbed += 1;
            }
            if disturbed > MOST_DISTURBED {
                return Err(Error::Settings(format!(
                    "times cannot be trusted here: other work took the processor from {disturbed} looks; \
                     measure when the machine is less busy, or by instructions"
                )));
            }
        }
        let mut instructions = Counts::new();
        if measures.instructions {
            told("instructions");
            let counts = instructions::count(probes, bundle, &[], 1)?;
            instructions.extend(counts.into_iter().flatten());
        }
        Ok(Self {
            format: FORMAT,
            calibration: calibration::VERSION,
            machine: Machine::this(),
            versions: Versions::current(),
            build: Build::this(),
            time,
            instructions,
        })
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
        let text = fs::read(path).map_err(Error::io(path))?;
        let baseline: Self = serde_json::from_slice(&text)
            .map_err(|error| wrong(format!("it is no baseline: {error}")))?;
        if (baseline.format, baseline.calibration) != (FORMAT, calibration::VERSION) {
            return Err(wrong(
                "it was made by another version of the gate: make it again".into(),
            ));
        }
        Ok(baseline)
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

    /// What times of a probe are when nothing has changed; none when too little is known.
    pub fn normal(&self, probe: Name) -> Option<Normal> {
        Normal::of(self.time.get(&probe)?)
    }
}

/// Adds a look's figures to those of others.
pub(super) fn add(figures: &mut BTreeMap<Name, Vec<f64>>, look: &Look) {
    for (&probe, &figure) in &look.figures {
        figures.entry(probe).or_default().push(figure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            time: [(Name::SearchLoop, vec![0.5; LOOKS])].into(),
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
