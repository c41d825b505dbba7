//! A run of the gate.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::baseline::{Baseline, Measures, add};
use super::decision::{INSTRUCTIONS_TOLERANCE, MORE_LOOKS};
use super::instructions;
use super::look::take_apart;
use super::probe::{Name, Plant};
use crate::error::Result;

/// How a probe was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Instructions.
    Instructions,
    /// Time, over so many looks.
    Time(usize),
}

/// What came of one measure of one probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The probe.
    pub probe: Name,
    /// How it was measured.
    pub measure: Measure,
    /// The relative slowdown; negative is quicker.
    pub slowdown: f64,
    /// The slowdown that would have been an alarm.
    pub limit: f64,
    /// Whether it is one.
    pub alarm: bool,
    /// The slowdown that this measure catches 95 times in 100.
    pub caught: f64,
}

/// A run of the gate.
pub struct Gate<'a> {
    /// What to compare with.
    pub baseline: &'a Baseline,
    /// The trained model's bundle.
    pub bundle: &'a Path,
    /// What to measure of each probe.
    pub measures: Measures,
    /// Slowdowns to plant, for a study.
    pub plants: &'a [Plant],
}

impl Gate<'_> {
    /// Measures every probe that the baseline has, and again before an alarm.
    ///
    /// # Errors
    ///
    /// [`Error::Process`](crate::Error::Process) when a measurement fails.
    pub fn run(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        if self.measures.instructions {
            for (&probe, &before) in &self.baseline.instructions {
                findings.push(self.instructions(probe, before)?);
            }
        }
        if self.measures.time {
            findings.extend(self.time()?);
        }
        Ok(findings)
    }

    fn instructions(&self, probe: Name, before: u64) -> Result<Finding> {
        let slowdown = || -> Result<f64> {
            let now = instructions::count(probe, self.bundle, self.plants)?;
            Ok(now as f64 / before as f64 - 1.0)
        };
        let mut found = slowdown()?;
        if found > INSTRUCTIONS_TOLERANCE {
            found = found.min(slowdown()?);
        }
        Ok(Finding {
            probe,
            measure: Measure::Instructions,
            slowdown: found,
            limit: INSTRUCTIONS_TOLERANCE,
            alarm: found > INSTRUCTIONS_TOLERANCE,
            caught: INSTRUCTIONS_TOLERANCE,
        })
    }

    fn time(&self) -> Result<Vec<Finding>> {
        let known = self
            .baseline
            .time
            .keys()
            .filter_map(|&probe| Some((probe, self.baseline.normal(probe)?)));
        let normals: BTreeMap<Name, _> = known.collect();
        let probes: Vec<Name> = normals.keys().copied().collect();
        let mut looks = BTreeMap::new();
        if probes.is_empty() {
            return Ok(Vec::new());
        }
        add(&mut looks, &take_apart(&probes, self.bundle, self.plants)?);
        let suspects: Vec<Name> = probes
            .into_iter()
            .filter(|probe| normals[probe].is_suspicious(looks[probe][0]))
            .collect();
        if !suspects.is_empty() {
            for _ in 0..MORE_LOOKS {
                add(
                    &mut looks,
                    &take_apart(&suspects, self.bundle, self.plants)?,
                );
            }
        }
        let finding = |(probe, looks): (Name, Vec<f64>)| {
            let normal = normals[&probe];
            Finding {
                probe,
                measure: Measure::Time(looks.len()),
                slowdown: normal.slowdown(&looks),
                limit: normal.limit(looks.len()).exp() - 1.0,
                alarm: suspects.contains(&probe) && normal.is_alarm(&looks),
                caught: normal.caught(),
            }
        };
        Ok(looks.into_iter().map(finding).collect())
    }
}

/// Whether any finding is an alarm.
pub fn is_alarm(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.alarm)
}

/// The findings as a table.
pub fn table(findings: &[Finding]) -> String {
    let mut out = format!(
        "{:<13} {:<13} {:>9} {:>9} {:>11}\n",
        "probe", "measure", "change", "alarm at", "catches"
    );
    for finding in findings {
        let measure = match finding.measure {
            Measure::Instructions => "instructions".into(),
            Measure::Time(1) => "time, 1 look".into(),
            Measure::Time(looks) => format!("time, {looks} looks"),
        };
        let _ = writeln!(
            out,
            "{:<13} {measure:<13} {:>+8.1}% {:>+8.1}% {:>+10.1}%{}",
            finding.probe,
            100.0 * finding.slowdown,
            100.0 * finding.limit,
            100.0 * finding.caught,
            if finding.alarm { "  SLOWER" } else { "" }
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_what_got_slower() {
        let finding = |probe, alarm| Finding {
            probe,
            measure: Measure::Time(5),
            slowdown: 0.071,
            limit: 0.02,
            alarm,
            caught: 0.034,
        };
        let findings = [
            finding(Name::SearchLoop, false),
            finding(Name::DecoderStep, true),
        ];
        let text = table(&findings);
        let slower: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("SLOWER"))
            .collect();
        assert_eq!(slower.len(), 1);
        assert!(
            slower[0].starts_with("decoder-step") && slower[0].contains("+7.1%"),
            "{text}"
        );
        assert!(is_alarm(&findings) && !is_alarm(&findings[..1]));
    }
}
