//! When a measurement is an alarm.
//!
//! A look's figure is the logarithm of a ratio of times, so differences of figures are relative
//! slowdowns. The baseline's looks tell where figures lie and how far they scatter with nothing changed
//! (a standard deviation `s`). A run of the gate is then Wald's sequential test between "nothing changed"
//! and "slower by `d`", where `d` is the slowdown that is worth finding, or [`RESOLUTION`] times `s`
//! where the machine is too noisy for that:
//!
//! * After each look the evidence is the sum of `(x - d / 2) * d / s^2` over the distances `x` of all looks
//!   from the baseline's centre. Distances are cut off two deviations outside of both claims, since one wild
//!   look must not decide.
//! * Below `ln(`[`MISSED`]`)` nothing got slower: most runs with nothing changed end after one or two looks.
//! * Above `ln((1 - `[`MISSED`]`) / `[`FALSE_ALARM`]`)` it is an alarm, but never before [`FEWEST_FOR_ALARM`] looks,
//!   half of which must be nearer to "slower".
//! * After [`MOST_LOOKS`] looks there is no alarm.
//!
//! An alarm has to come of two such tests, some seconds apart ([`by_time`](super::run::by_time)).
//!
//! Looks that scatter more than those of the baseline count for less: `s` is the greater of both. With five
//! probes that is at most one false alarm in two hundred runs.

use serde::{Deserialize, Serialize};

use crate::statistics::{mean, median};

/// A probe's share of false alarms that the test is set to.
pub const FALSE_ALARM: f64 = 0.000_2;
/// The share of slowdowns that the test may miss.
pub const MISSED: f64 = 0.02;
/// The smallest slowdown that is looked for, in standard deviations of a look.
pub const RESOLUTION: f64 = 3.0;
/// Looks that an alarm needs.
pub const FEWEST_FOR_ALARM: usize = 4;
/// Looks after which the test ends in any case.
pub const MOST_LOOKS: usize = 30;
/// Looks from which on the scatter of a run's own looks is believed.
const ENOUGH: usize = 6;
/// Standard deviations beyond which a look counts no more.
const CUT: f64 = 2.0;
/// The standard deviation of normally distributed values over their mean distance from the centre.
const ABSOLUTE_FACTOR: f64 = 1.2533;
/// The smallest standard deviation that is believed.
const SMALLEST_DEVIATION: f64 = 0.002;
/// A slowdown in instructions that is an alarm: far above what they vary by (hash tables seeded at
/// random), far below what is worth finding.
pub const INSTRUCTIONS_TOLERANCE: f64 = 0.01;
/// Looks that a baseline needs at least, for its scatter to mean anything.
pub const FEWEST_LOOKS: usize = 10;

/// What figures are when nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normal {
    /// Where they lie.
    pub centre: f64,
    /// How far they scatter: a standard deviation.
    pub deviation: f64,
}

/// What some looks come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing got slower.
    Unchanged,
    /// Something did.
    Slower,
    /// Another look will tell.
    Unclear,
}

impl Normal {
    /// What the looks of a baseline say; none when there are too few.
    pub fn of(looks: &[f64]) -> Option<Self> {
        (looks.len() >= FEWEST_LOOKS).then(|| Self {
            centre: median(looks),
            deviation: deviation(looks),
        })
    }

    /// The relative slowdown that some looks tell of; negative when it is a speedup.
    pub fn slowdown(&self, looks: &[f64]) -> f64 {
        (median(looks) - self.centre).exp() - 1.0
    }

    /// What some looks come to, where a slowdown of `worth` is worth finding.
    pub fn verdict(&self, looks: &[f64], worth: f64) -> Verdict {
        let difference = self.caught(worth).ln_1p();
        let deviation = if looks.len() >= ENOUGH {
            self.deviation.max(deviation(looks))
        } else {
            self.deviation
        };
        let evidence = |look: &f64| {
            let cut = CUT * deviation;
            let distance = (look - self.centre).clamp(-cut, difference + cut);
            (distance - difference / 2.0) * difference / deviation.powi(2)
        };
        let evidence: f64 = looks.iter().map(evidence).sum();
        let many = looks.len() >= FEWEST_FOR_ALARM;
        if evidence <= MISSED.ln() {
            Verdict::Unchanged
        } else if evidence >= ((1.0 - MISSED) / FALSE_ALARM).ln()
            && many
            && median(looks) - self.centre > difference / 2.0
        {
            Verdict::Slower
        } else if looks.len() >= MOST_LOOKS {
            Verdict::Unchanged
        } else {
            Verdict::Unclear
        }
    }

    /// The slowdown that is caught 95 times in 100, as far as the scatter tells: what is worth finding,
    /// or more on a noisy machine.
    pub fn caught(&self, worth: f64) -> f64 {
        worth.max((RESOLUTION * self.deviation).exp_m1())
    }
}

/// The standard deviation, from distances themselves and not their squares: a single wild look must
/// not make the gate blind.
fn deviation(looks: &[f64]) -> f64 {
    let centre = median(looks);
    let distances: Vec<f64> = looks.iter().map(|look| (look - centre).abs()).collect();
    let share = looks.len() as f64 / (looks.len() - 1) as f64;
    (ABSOLUTE_FACTOR * share * mean(&distances)).max(SMALLEST_DEVIATION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::baseline::LOOKS;
    use crate::random::Random;

    const WORTH: f64 = 0.05;

    /// A look on a machine whose figures scatter by `deviation`, one in twenty of them wildly.
    fn look(random: &mut Random, centre: f64, deviation: f64) -> f64 {
        let wild = if random.uniform() < 0.05 { 4.0 } else { 1.0 };
        centre + wild * deviation * f64::from(random.normal())
    }

    /// How many of `runs` runs end in an alarm, with a new baseline every ten, and how many looks they
    /// take.
    fn alarms(runs: usize, deviation: f64, slowdown: f64) -> (usize, usize) {
        let mut random = Random::new(1 + (slowdown * 1e3) as u64);
        let mut normal = None;
        let centre = 0.7;
        let (mut alarms, mut taken) = (0, 0);
        for run in 0..runs {
            if run % 10 == 0 {
                let looks: Vec<f64> = (0..LOOKS)
                    .map(|_| look(&mut random, centre, deviation))
                    .collect();
                normal = Normal::of(&looks);
            }
            let normal = normal.expect("enough looks");
            let mut looks = Vec::new();
            let verdict = loop {
                looks.push(look(&mut random, centre + slowdown.ln_1p(), deviation));
                match normal.verdict(&looks, WORTH) {
                    Verdict::Unclear => {}
                    verdict => break verdict,
                }
            };
            taken += looks.len();
            alarms += usize::from(verdict == Verdict::Slower);
        }
        (alarms, taken)
    }

    #[test]
    fn nothing_changed_is_no_alarm_and_soon_told() {
        for deviation in [0.003, 0.0125, 0.03, 0.06] {
            let (alarms, looks) = alarms(20_000, deviation, 0.0);
            // One probe's part of the stated rate is one in a thousand.
            assert!(alarms <= 20, "{alarms} of 20000 at {deviation}");
            assert!(looks <= 4 * 20_000, "{looks} looks at {deviation}");
        }
    }

    #[test]
    fn what_it_says_it_catches_it_does() {
        for deviation in [0.003, 0.01, 0.02, 0.04] {
            let normal = Normal {
                centre: 0.0,
                // What a baseline makes of a machine where one look in twenty is wild.
                deviation: 1.15 * deviation,
            };
            let (caught, _) = alarms(2_000, deviation, normal.caught(WORTH));
            assert!(caught >= 1_900, "{caught} of 2000 at {deviation}");
        }
    }

    #[test]
    fn a_speedup_is_no_alarm_and_few_looks_are_no_baseline() {
        assert_eq!(alarms(500, 0.01, -0.05).0, 0);
        assert_eq!(Normal::of(&[1.0; FEWEST_LOOKS - 1]), None);
    }

    #[test]
    fn one_wild_look_is_no_alarm() {
        let calm = Normal::of(&[1.0; FEWEST_LOOKS]).expect("enough");
        assert_eq!(calm.verdict(&[9.0], WORTH), Verdict::Unclear);
        assert_eq!(calm.verdict(&[9.0, 1.0], WORTH), Verdict::Unclear);
        assert_eq!(calm.verdict(&[1.015], WORTH), Verdict::Unchanged);
        assert_eq!(calm.verdict(&[1.06; 4], WORTH), Verdict::Slower);
    }
}
