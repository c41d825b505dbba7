//! A run of the gate.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::baseline::{Baseline, Measures};
use super::decision::{INSTRUCTIONS_TOLERANCE, Normal, Verdict};
use super::instructions::{self, Counts};
use super::look::{self, Look, MOST_DISTURBED};
use super::probe::{Name, Plant};
use crate::error::Result;

/// How long an alarm waits to be looked at anew.
const PAUSE: Duration = Duration::from_secs(10);

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
        by_time(
            self.baseline,
            &mut |probes| look::take(probes, self.bundle, self.plants),
            &mut || thread::sleep(PAUSE),
        )
    }
}

/// Compares times with those of a baseline. `take` takes a look; what seems slower is looked at anew after `wait`, and
/// that decides: whatever else the machine did for some seconds is over then.
///
/// # Errors
///
/// Those of `take`.
pub fn by_time(
    baseline: &Baseline,
    take: &mut dyn FnMut(&[Name]) -> Result<Look>,
    wait: &mut dyn FnMut(),
) -> Result<Vec<Finding>> {
    let probes: Vec<Name> = baseline.time.keys().copied().collect();
    let mut findings = compare(baseline, &probes, take)?;
    let alarms = findings.iter().filter(|finding| finding.alarm);
    let suspects: Vec<Name> = alarms.map(|finding| finding.probe).collect();
    if suspects.is_empty() {
        return Ok(findings);
    }
    wait();
    for again in compare(baseline, &suspects, take)? {
        let first = findings.iter_mut().find(|first| first.probe == again.probe);
        *first.expect("one of the suspects") = again;
    }
    Ok(findings)
}

/// Takes looks at these probes until each is clear, or others disturbed too many.
fn compare(
    baseline: &Baseline,
    probes: &[Name],
    take: &mut dyn FnMut(&[Name]) -> Result<Look>,
) -> Result<Vec<Finding>> {
    let known = probes.iter().filter_map(|&probe| {
        Some(Watch {
            probe,
            normal: baseline.normal(probe)?,
            figures: Vec::new(),
            disturbed: 0,
        })
    });
    let mut watches: Vec<Watch> = known.collect();
    loop {
        let waiting = watches.iter().filter(|watch| watch.is_waiting());
        let waiting: Vec<Name> = waiting.map(|watch| watch.probe).collect();
        if waiting.is_empty() {
            return Ok(watches.iter().map(Watch::finding).collect());
        }
        let look = take(&waiting)?;
        for watch in watches.iter_mut().filter(|watch| watch.is_waiting()) {
            match look.get(&watch.probe) {
                Some(&times) if baseline.is_steady(watch.probe, times) => {
                    watch.figures.push(times.figure());
                }
                _ => watch.disturbed += 1,
            }
        }
    }
}

/// What is known of a probe so far.
struct Watch {
    probe: Name,
    normal: Normal,
    /// Of the looks that count.
    figures: Vec<f64>,
    /// Looks that do not.
    disturbed: usize,
}

impl Watch {
    fn verdict(&self) -> Verdict {
        if self.figures.is_empty() {
            return Verdict::Unclear;
        }
        self.normal
            .verdict(&self.figures, self.probe.worth_finding())
    }

    fn is_waiting(&self) -> bool {
        self.verdict() == Verdict::Unclear && self.disturbed <= MOST_DISTURBED
    }

    fn finding(&self) -> Finding {
        let caught = self.normal.caught(self.probe.worth_finding());
        let verdict = self.verdict();
        Finding {
            probe: self.probe,
            measure: match verdict {
                Verdict::Unclear => Measure::Disturbed,
                _ => Measure::Time(self.figures.len()),
            },
            slowdown: self.normal.slowdown(&self.figures),
            limit: (caught.ln_1p() / 2.0).exp_m1(),
            alarm: verdict == Verdict::Slower,
            caught,
        }
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

/// The probes that nothing is known of: other work disturbed all looks, and their instructions were not counted.
pub fn untold(findings: &[Finding]) -> Vec<Name> {
    let told = |probe| {
        let mut of_probe = findings.iter().filter(|finding| finding.probe == probe);
        of_probe.any(|finding| finding.measure != Measure::Disturbed)
    };
    let probes: BTreeSet<Name> = findings.iter().map(|finding| finding.probe).collect();
    probes.into_iter().filter(|&probe| !told(probe)).collect()
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
    use crate::gate::look::Times;

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

    /// A baseline of two probes, of which each look finds the machine steady, with the work taking `8 ms`.
    fn baseline() -> Baseline {
        Baseline {
            time: [Name::SearchLoop, Name::DecoderStep]
                .map(|probe| (probe, vec![times(8.0, 1.0); 30]))
                .into(),
            ..Baseline::empty()
        }
    }

    fn times(work: f64, load: f64) -> Times {
        Times { work, load }
    }

    /// What comes of looks at which a probe takes as long as `times` says of their number and of the probe; how many looks
    /// there were, and how many pauses.
    fn looked_at(times: impl Fn(usize, Name) -> Times) -> (Vec<Finding>, usize, usize) {
        let (mut looks, mut pauses) = (0, 0);
        let findings = by_time(
            &baseline(),
            &mut |probes| {
                looks += 1;
                let look = probes.iter().map(|&probe| (probe, times(looks, probe)));
                Ok(look.collect())
            },
            &mut || pauses += 1,
        );
        (findings.expect("looks do not fail"), looks, pauses)
    }

    /// The alarms where the search loop takes as long as `work` says of a look's number, and how often there was a pause.
    fn alarms(work: impl Fn(usize) -> f64) -> (Vec<Name>, usize) {
        let (findings, _, pauses) = looked_at(|look, probe| match probe {
            Name::SearchLoop => times(work(look), 1.0),
            _ => times(8.0, 1.0),
        });
        let alarms = findings.iter().filter(|finding| finding.alarm);
        (alarms.map(|finding| finding.probe).collect(), pauses)
    }

    #[test]
    fn an_alarm_is_looked_at_anew_after_a_pause() {
        assert_eq!(alarms(|_| 8.0), (vec![], 0));
        assert_eq!(alarms(|_| 8.0 * 1.06), (vec![Name::SearchLoop], 1));
        // Slower for four looks, as while a neighbour is busy.
        assert_eq!(
            alarms(|look| if look <= 4 { 8.0 * 1.06 } else { 8.0 }),
            (vec![], 1)
        );
    }

    #[test]
    fn an_alarm_that_cannot_be_looked_at_anew_is_untold() {
        let (mut findings, _, _) = looked_at(|look, probe| {
            let load = if look <= 4 { 1.0 } else { 1.5 };
            match probe {
                Name::SearchLoop => times(8.0 * 1.06 * load, load),
                _ => times(8.0, 1.0),
            }
        });
        assert!(!is_alarm(&findings));
        assert_eq!(untold(&findings), [Name::SearchLoop]);
        let counted = Finding {
            measure: Measure::Instructions,
            ..findings
                .iter()
                .find(|finding| finding.probe == Name::SearchLoop)
                .expect("there")
                .clone()
        };
        findings.push(counted);
        assert_eq!(untold(&findings), []);
    }

    #[test]
    fn looks_at_a_machine_in_another_state_tell_nothing() {
        let (findings, looks, pauses) = looked_at(|_, _| times(16.0, 1.5));
        assert_eq!(pauses, 0, "there is no alarm to look at");
        let both = [Name::SearchLoop, Name::DecoderStep];
        assert_eq!(untold(&findings).len(), both.len());
        assert!(!is_alarm(&findings));
        assert_eq!(looks, MOST_DISTURBED + 1);
    }
}
