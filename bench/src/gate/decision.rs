//! When a measurement is an alarm.
//!
//! A look's figure is the logarithm of a ratio of times, so differences of figures are relative
//! slowdowns. The baseline's looks tell how far figures scatter with nothing changed (a standard
//! deviation `s` from `n` looks). A run of the gate is then a test in two stages:
//!
//! 1. One look. Only a figure more than [`SUSPICION`] standard deviations above the baseline's centre
//!    is looked at again; most runs with nothing changed end here.
//! 2. [`MORE_LOOKS`] looks more. The median of all of them is an alarm when it is above
//!    `t * s * sqrt(1/looks + 1/n) * 1.25`, where `t` is the quantile of Student's distribution that
//!    one measurement in [`ONE_IN`] exceeds by chance, and 1.25 is what a median scatters more than a
//!    mean; and never below [`SMALLEST`], since a baseline may have been lucky.
//!
//! With five probes that is at most one false alarm in two hundred runs, and fewer, as the first stage
//! must agree.

use serde::{Deserialize, Serialize};

use crate::statistics::{mean, median};

/// Standard deviations above the baseline at which a first look is suspicious.
pub const SUSPICION: f64 = 1.5;
/// Looks that are taken before an alarm, beside the first.
pub const MORE_LOOKS: usize = 4;
/// One measurement of a probe in so many may be a false alarm.
pub const ONE_IN: usize = 1000;
/// The normal quantile of that.
const NORMAL_QUANTILE: f64 = 3.090_232;
/// The normal quantile that 975 measurements in 1000 stay below: of two stages, 95 in 100.
const CAUGHT: f64 = 1.959_964;
/// How much greater than it should be the deviation that a baseline tells may well be.
const UNCERTAIN: f64 = 1.2;
/// The standard deviation of normally distributed values over their mean distance from the centre.
const ABSOLUTE_FACTOR: f64 = 1.2533;
/// What a median scatters more than a mean, for normally distributed values.
const MEDIAN_FACTOR: f64 = 1.2533;
/// The smallest slowdown in time that is ever an alarm.
pub const SMALLEST: f64 = 0.02;
/// The smallest standard deviation that is believed.
const SMALLEST_DEVIATION: f64 = 0.002;
/// A slowdown in instructions that is an alarm: far above what they vary by (hash tables seeded at
/// random), far below what is worth finding.
pub const INSTRUCTIONS_TOLERANCE: f64 = 0.01;
/// Looks that a baseline needs at least, for its scatter to mean anything.
pub const FEWEST_LOOKS: usize = 6;

/// What figures are when nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normal {
    /// Where they lie.
    pub centre: f64,
    /// How far they scatter: a standard deviation.
    pub deviation: f64,
    /// From how many looks this is known.
    pub looks: usize,
}

impl Normal {
    /// What the looks of a baseline say; none when there are too few.
    pub fn of(looks: &[f64]) -> Option<Self> {
        if looks.len() < FEWEST_LOOKS {
            return None;
        }
        let centre = median(looks);
        let distances: Vec<f64> = looks.iter().map(|look| (look - centre).abs()).collect();
        // Distances themselves and not their squares: a single wild look among the baseline's must
        // not make the gate blind.
        let share = looks.len() as f64 / (looks.len() - 1) as f64;
        Some(Self {
            centre,
            deviation: (ABSOLUTE_FACTOR * share * mean(&distances)).max(SMALLEST_DEVIATION),
            looks: looks.len(),
        })
    }

    /// The relative slowdown that some looks tell of; negative when it is a speedup.
    pub fn slowdown(&self, looks: &[f64]) -> f64 {
        (median(looks) - self.centre).exp() - 1.0
    }

    /// Whether one look is reason enough for more.
    pub fn is_suspicious(&self, look: f64) -> bool {
        look - self.centre > SUSPICION * self.deviation
    }

    /// Whether these looks, all of them together, are an alarm.
    pub fn is_alarm(&self, looks: &[f64]) -> bool {
        median(looks) - self.centre > self.limit(looks.len())
    }

    /// How far the median of so many looks may lie above the centre.
    pub fn limit(&self, looks: usize) -> f64 {
        let both = (1.0 / looks as f64 + 1.0 / self.looks as f64).sqrt();
        let quantile = student_quantile(NORMAL_QUANTILE, (self.looks - 1) as f64);
        (quantile * self.deviation * both * MEDIAN_FACTOR).max((1.0 + SMALLEST).ln())
    }

    /// The slowdown that is caught 95 times in 100, as far as the scatter tells. Both stages must
    /// agree, and the baseline itself is only known from its looks.
    pub fn caught(&self) -> f64 {
        let share = |looks: usize| (1.0 / looks as f64 + 1.0 / self.looks as f64).sqrt();
        let first = SUSPICION * UNCERTAIN + CAUGHT * share(1);
        let looks = MORE_LOOKS + 1;
        let all =
            self.limit(looks) * UNCERTAIN + CAUGHT * MEDIAN_FACTOR * share(looks) * self.deviation;
        all.max(first * self.deviation).exp() - 1.0
    }
}

/// The quantile of Student's distribution with `freedom` degrees of freedom, from the normal one, by
/// the expansion of Cornish and Fisher.
fn student_quantile(z: f64, freedom: f64) -> f64 {
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    z + (z3 + z) / (4.0 * freedom)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * freedom.powi(2))
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / (384.0 * freedom.powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::baseline::LOOKS;
    use crate::random::Random;

    /// A look on a machine whose figures scatter by `deviation`, one in twenty of them wildly.
    fn look(random: &mut Random, centre: f64, deviation: f64) -> f64 {
        let wild = if random.uniform() < 0.05 { 4.0 } else { 1.0 };
        centre + wild * deviation * f64::from(random.normal())
    }

    /// How many of `runs` runs end in an alarm, with a new baseline every ten.
    fn alarms(runs: usize, deviation: f64, slowdown: f64) -> usize {
        let mut random = Random::new(1 + (slowdown * 1e3) as u64);
        let mut normal = None;
        let centre = 0.7;
        let now = centre + (1.0 + slowdown).ln();
        (0..runs)
            .filter(|run| {
                if run % 10 == 0 {
                    let looks: Vec<f64> = (0..LOOKS)
                        .map(|_| look(&mut random, centre, deviation))
                        .collect();
                    normal = Normal::of(&looks);
                }
                let normal = normal.expect("enough looks");
                let mut looks = vec![look(&mut random, now, deviation)];
                if !normal.is_suspicious(looks[0]) {
                    return false;
                }
                looks.extend((0..MORE_LOOKS).map(|_| look(&mut random, now, deviation)));
                normal.is_alarm(&looks)
            })
            .count()
    }

    #[test]
    fn nothing_changed_is_no_alarm() {
        for deviation in [0.003, 0.01, 0.03] {
            let alarms = alarms(20_000, deviation, 0.0);
            // One probe's part of the stated rate is one in a thousand.
            assert!(alarms <= 20, "{alarms} of 20000 at {deviation}");
        }
    }

    #[test]
    fn real_slowdowns_are_caught() {
        for (deviation, slowdown) in [(0.005, 0.05), (0.01, 0.05), (0.01, 0.10), (0.02, 0.10)] {
            let caught = alarms(2_000, deviation, slowdown);
            assert!(
                caught >= 1_900,
                "{caught} of 2000 at {deviation}, {slowdown}"
            );
        }
    }

    #[test]
    fn what_it_says_it_catches_it_does() {
        for deviation in [0.005, 0.015, 0.03] {
            let mut random = Random::new(5);
            let looks: Vec<f64> = (0..5_000)
                .map(|_| look(&mut random, 0.0, deviation))
                .collect();
            let normal = Normal {
                looks: LOOKS,
                ..Normal::of(&looks).expect("enough")
            };
            let caught = alarms(2_000, deviation, normal.caught());
            assert!(caught >= 1_850, "{caught} of 2000 at {deviation}");
        }
    }

    #[test]
    fn a_speedup_is_no_alarm_and_few_looks_are_no_baseline() {
        assert_eq!(alarms(500, 0.01, -0.05), 0);
        assert_eq!(Normal::of(&[1.0; FEWEST_LOOKS - 1]), None);
        let calm = Normal::of(&[1.0; 8]).expect("enough");
        assert!(!calm.is_alarm(&[1.015]), "a lucky baseline is not believed");
        assert!(calm.is_alarm(&[1.05; 5]));
    }

    #[test]
    fn student_quantiles_are_those_of_the_tables() {
        for (freedom, expected) in [(7.0, 4.785), (11.0, 4.025), (30.0, 3.385)] {
            let found = student_quantile(NORMAL_QUANTILE, freedom);
            assert!((found - expected).abs() < 0.05, "{freedom}: {found}");
        }
    }
}
