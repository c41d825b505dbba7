//! The stored counts of the gate.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use epitome_evaluation::machine::{Machine, Versions};
use epitome_evaluation::report::replace;
use serde::{Deserialize, Serialize};

use super::counting::{Counts, count};
use super::probe::Probe;

/// Counts, with their machine, versions and build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The machine.
    pub machine: Machine,
    /// Versions of this workspace and of ONNX Runtime.
    pub versions: Versions,
    /// Build of the program that counted.
    pub build: Build,
    /// Instructions of each probe.
    pub instructions: Counts,
}

/// A build. Counts depend on the compiler and its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Output of `rustc --version`.
    pub rustc: String,
    /// cargo's `opt-level`.
    pub opt_level: String,
}

impl Build {
    /// The build of this program.
    pub fn this() -> Self {
        Self {
            rustc: env!("EPITOME_BENCH_RUSTC").into(),
            opt_level: env!("EPITOME_BENCH_OPT_LEVEL").into(),
        }
    }
}

impl Baseline {
    /// Counts the instructions of the probes.
    ///
    /// # Errors
    ///
    /// The errors of [`count`].
    pub fn measure(probes: &[Probe], bundle: &Path) -> Result<Self> {
        Ok(Self {
            machine: Machine::this(),
            versions: Versions::current(),
            build: Build::this(),
            instructions: count(probes, bundle)?,
        })
    }

    /// Reads a baseline.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is not a baseline.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read '{}'", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("'{}' is not a baseline: make it again", path.display()))
    }

    /// Writes the baseline.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(replace(path, &text)?)
    }

    /// The reason why counts of this machine and build cannot be compared with the baseline, if
    /// there is one.
    pub fn difference(&self, machine: &Machine, build: &Build) -> Option<String> {
        let then = &self.machine;
        if (&then.os, &then.arch) != (&machine.os, &machine.arch) {
            return Some(format!("it is of another system ({} on {})", then.os, then.arch));
        }
        let (then, now) = (&self.build, build);
        if then.rustc != now.rustc {
            return Some(format!(
                "it was built by {}, and this program by {}",
                then.rustc, now.rustc
            ));
        }
        (then.opt_level != now.opt_level).then(|| {
            format!(
                "it was built with opt-level {}, and this program with {}: use cargo's --release",
                then.opt_level, now.opt_level
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline() -> Baseline {
        Baseline {
            machine: Machine::default(),
            versions: Versions::default(),
            build: Build::this(),
            instructions: [(Probe::DecoderStep, 1000)].into(),
        }
    }

    #[test]
    fn a_baseline_survives_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("baseline.json");
        baseline().write(&path).expect("written");
        assert_eq!(Baseline::read(&path).expect("read"), baseline());
    }

    #[test]
    fn another_system_compiler_or_level_cannot_be_compared() {
        let (machine, build) = (baseline().machine, Build::this());
        assert_eq!(baseline().difference(&machine, &build), None);
        let difference = |machine: &Machine, build: &Build| {
            baseline().difference(machine, build).expect("a difference")
        };
        let elsewhere = Machine { arch: "b".into(), ..Machine::default() };
        assert!(difference(&elsewhere, &build).contains("another system"));
        let newer = Build { rustc: "rustc 9".into(), ..Build::this() };
        assert!(difference(&machine, &newer).ends_with("this program by rustc 9"));
        let unoptimized = Build { opt_level: "none".into(), ..Build::this() };
        assert!(difference(&machine, &unoptimized).contains("opt-level"));
    }

    #[test]
    fn the_stored_baseline_can_be_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.json");
        let baseline = Baseline::read(&path).expect("read");
        assert_eq!(baseline.instructions.len(), Probe::ALL.len());
    }

    #[test]
    fn a_file_that_is_not_a_baseline_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("baseline.json");
        fs::write(&path, "{").expect("written");
        for (path, expected) in
            [(path, "is not a baseline"), (folder.path().join("none"), "cannot read")]
        {
            let message = Baseline::read(&path).expect_err("refused").to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
