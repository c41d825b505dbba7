//! The stored figures that a commit is compared with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::calibration;
use super::decision::Normal;
use super::instructions;
use super::look::{Look, take_apart};
use super::probe::Name;
use crate::error::{Error, Result};
use crate::machine::{Machine, Versions};
use crate::report::replace;

/// Version of the format of a baseline.
const FORMAT: u32 = 1;
/// Looks that a new baseline is made from.
pub const LOOKS: usize = 20;

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
    /// Logarithms of ratios of time, look by look.
    pub time: BTreeMap<Name, Vec<f64>>,
    /// Instructions.
    pub instructions: BTreeMap<Name, u64>,
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
        for index in 0..if measures.time { LOOKS } else { 0 } {
            told(&format!("look {} of {LOOKS}", index + 1));
            add(&mut time, &take_apart(probes, bundle, &[])?);
        }
        let mut instructions = BTreeMap::new();
        for &probe in probes.iter().filter(|_| measures.instructions) {
            told(&format!("instructions of {probe}"));
            instructions.insert(probe, instructions::count(probe, bundle, &[])?);
        }
        Ok(Self {
            format: FORMAT,
            calibration: calibration::VERSION,
            machine: Machine::this(),
            versions: Versions::current(),
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

    /// Whether times of this machine can be compared with it.
    pub fn is_of(&self, machine: &Machine) -> bool {
        (&self.machine.cpu, &self.machine.arch) == (&machine.cpu, &machine.arch)
    }

    /// What times of a probe are when nothing has changed; none when too little is known.
    pub fn normal(&self, probe: Name) -> Option<Normal> {
        Normal::of(self.time.get(&probe)?)
    }
}

/// Adds a look's figures to those of others.
pub(super) fn add(figures: &mut BTreeMap<Name, Vec<f64>>, look: &Look) {
    for (&probe, &figure) in look {
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
            time: [(Name::SearchLoop, vec![0.5; 8])].into(),
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
        assert!(!baseline().is_of(&Machine {
            cpu: "b".into(),
            ..Default::default()
        }));
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
