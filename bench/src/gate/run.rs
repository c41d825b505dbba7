//! A run of the gate.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::baseline::{Baseline, Measures, add};
use super::decision::{INSTRUCTIONS_TOLERANCE, Normal, Verdict};
use super::instructions::{self, Counts};
use super::look::{MOST_DISTURBED, take_apart};
use super::probe::{Name, Plant};
use crate::error::Result;

/// How a probe was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Instructions.
    Instructions,
    /// Time, over so many looks.
    Time(usize),
    /// Time, which tells nothing since other work took the processor from the looks.
    Disturbed,
}

/// What came of one measure of one probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The probe.
    pub probe: Name,
    /// How it was measured.
    pub measure: Measure,
    /// The relative slowdown; negative is quicker, NaN where nothing could be measured.
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
        if self.measures.instructions && !self.baseline.instructions.is_empty() {
            findings = by_instructions(&self.baseline.instructions, &mut |probes| {
                let counts = instructions::count(probes, self.bundle, self.plants, 1)?;
                Ok(counts.into_iter().next().unwrap_or_default())
            })?;
        }
        if self.measures.time {
            findings.extend(self.time()?);
        }
        Ok(findings)
    }

    fn time(&self) -> Result<Vec<Finding>> {
        let known = self
            .baseline
            .time
            .keys()
            .filter_map(|&probe| Some((probe, self.baseline.normal(probe)?)));
        let normals: BTreeMap<Name, Normal> = known.collect();
        let mut looks: BTreeMap<Name, Vec<f64>> = BTreeMap::new();
        let verdict = |probe: &Name, looks: &BTreeMap<Name, Vec<f64>>| {
            normals[probe].verdict(&looks[probe], probe.worth_finding())
        };
        let mut unclear: Vec<Name> = normals.keys().copied().collect();
        let mut disturbed = 0;
        while !unclear.is_empty() && disturbed <= MOST_DISTURBED {
            let look = take_apart(&unclear, self.bundle, self.plants)?;
            if look.is_trusted() {
                add(&mut looks, &look);
                unclear.retain(|probe| verdict(probe, &looks) == Verdict::Unclear);
            } else {
                disturbed += 1;
            }
        }
        let finding = |(&probe, normal): (&Name, &Normal)| {
            let taken = looks.get(&probe).map_or(&[][..], Vec::as_slice);
            let caught = normal.caught(probe.worth_finding());
            let is_clear = !unclear.contains(&probe);
            Finding {
                probe,
                measure: if is_clear {
                    Measure::Time(taken.len())
                } else {
                    Measure::Disturbed
                },
                slowdown: normal.slowdown(taken),
                limit: (caught.ln_1p() / 2.0).exp_m1(),
                alarm: is_clear && verdict(&probe, &looks) == Verdict::Slower,
                caught,
            }
        };
        Ok(normals.iter().map(finding).collect())
    }
}

/// Compares counts with those of a baseline. `count` counts; what seems slower is counted again, and
/// the smaller count is believed.
///
/// # Errors
///
/// Those of `count`.
pub fn by_instructions(
    before: &Counts,
    count: &mut dyn FnMut(&[Name]) -> Result<Counts>,
) -> Result<Vec<Finding>> {
    let change = |probe: &Name, now: u64| now as f64 / before[probe] as f64 - 1.0;
    let probes: Vec<Name> = before.keys().copied().collect();
    let mut counts = count(&probes)?;
    let suspects: Vec<Name> = probes
        .into_iter()
        .filter(|probe| change(probe, counts[probe]) > INSTRUCTIONS_TOLERANCE)
        .collect();
    if !suspects.is_empty() {
        for (probe, again) in count(&suspects)? {
            counts
                .entry(probe)
                .and_modify(|first| *first = again.min(*first));
        }
    }
    let finding = |(&probe, &now): (&Name, &u64)| {
        let slowdown = change(&probe, now);
        Finding {
            probe,
            measure: Measure::Instructions,
            slowdown,
            limit: INSTRUCTIONS_TOLERANCE,
            alarm: slowdown > INSTRUCTIONS_TOLERANCE,
            caught: INSTRUCTIONS_TOLERANCE,
        }
    };
    Ok(counts.iter().map(finding).collect())
}

/// Whether any finding is an alarm.
pub fn is_alarm(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.alarm)
}

/// Whether every finding is of looks that other work disturbed, so that nothing was compared.
pub fn is_disturbed(findings: &[Finding]) -> bool {
    let disturbed = |finding: &Finding| finding.measure == Measure::Disturbed;
    findings.iter().all(disturbed)
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
            Measure::Disturbed => {
                let _ = writeln!(
                    out,
                    "{:<13} time: the machine is too busy to tell",
                    finding.probe
                );
                continue;
            }
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
