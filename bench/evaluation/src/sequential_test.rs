//! Wald's sequential test: did something get slower?
//!
//! The caller takes samples one after another. A sample is the logarithm of a time, or better of
//! the ratio of two times that were measured in turn by interleaved processes. Differences of
//! samples are then relative slowdowns. After each sample [`Reference::verdict`] says whether to go
//! on.
//!
//! The samples of the reference tell where samples lie when nothing has changed, and how far they
//! scatter (a standard deviation `s`). The test decides between "unchanged" and "slower by `d`":
//!
//! * `d` is the smallest slowdown that matters to the caller. On a machine that is too noisy for
//!   that, `d` is [`RESOLUTION`] times `s`. [`Reference::detectable`] says which.
//! * The evidence is the sum of `(x - d / 2) * d / s^2`, where `x` is the distance of a sample from
//!   the reference's center. Distances are cut off two deviations outside of 0 and `d`, so that one
//!   wild sample does not decide.
//! * Evidence below `ln(`[`MISS_RATE`]`)` means unchanged. Most runs end here after one or two
//!   samples.
//! * Evidence above `ln((1 - `[`MISS_RATE`]`) / `[`FALSE_ALARM_RATE`]`)` means slower, but never
//!   before [`MIN_SAMPLES_FOR_ALARM`] samples, and only if their median is nearer to `d` than to 0.
//! * After [`MAX_SAMPLES`] samples the answer is unchanged.
//! * Tests that are made at once share the false-alarm rate: the bound grows with their number.
//!
//! Samples that scatter more than the reference's count for less: `s` is the greater of both.
//!
//! The stated false-alarm rate is one run in a thousand, also where one sample in twenty scatters
//! four times as far as the others. The tests of this module hold it to that.

use crate::statistics::{mean, median};

/// The false-alarm rate in Wald's bounds. Real samples are not normally distributed, so the stated
/// rate is five times as high.
pub const FALSE_ALARM_RATE: f64 = 0.000_2;
/// Share of slowdowns that the test may miss.
pub const MISS_RATE: f64 = 0.02;
/// Smallest slowdown that the test looks for, in standard deviations of a sample.
pub const RESOLUTION: f64 = 3.0;
/// Smallest number of samples of a reference, for a meaningful deviation.
pub const MIN_REFERENCE_SAMPLES: usize = 10;
/// Smallest number of samples of an alarm.
pub const MIN_SAMPLES_FOR_ALARM: usize = 4;
/// Number of samples after which the test ends in any case.
pub const MAX_SAMPLES: usize = 30;
/// Number of samples from which the test also uses their own deviation.
const MIN_SAMPLES_FOR_SCATTER: usize = 6;
/// Number of standard deviations at which a distance is cut off.
const CUT: f64 = 2.0;
/// The standard deviation of normally distributed values, divided by their mean distance from the
/// center.
const DEVIATION_OVER_MEAN_DISTANCE: f64 = 1.2533;
/// Smallest standard deviation that the test accepts.
const MIN_DEVIATION: f64 = 0.002;

/// Distribution of samples without a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reference {
    /// Median.
    pub center: f64,
    /// Standard deviation.
    pub deviation: f64,
}

/// State of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing got slower.
    Unchanged,
    /// Something got slower.
    Slower,
    /// The test needs another sample.
    Undecided,
}

impl Reference {
    /// The distribution of these samples; `None` if there are fewer than [`MIN_REFERENCE_SAMPLES`].
    pub fn of(samples: &[f64]) -> Option<Self> {
        (samples.len() >= MIN_REFERENCE_SAMPLES)
            .then(|| Self { center: median(samples), deviation: deviation(samples) })
    }

    /// The relative slowdown that the samples show; negative for a speedup.
    pub fn slowdown(&self, samples: &[f64]) -> f64 {
        (median(samples) - self.center).exp() - 1.0
    }

    /// The slowdown that the test detects 95 times in 100: `slowdown`, or more on a noisy machine.
    pub fn detectable(&self, slowdown: f64) -> f64 {
        slowdown.max((RESOLUTION * self.deviation).exp_m1())
    }

    /// Decides between "unchanged" and "slower by `slowdown`", a fraction. `tests` tests at once
    /// share the false-alarm rate.
    pub fn verdict(&self, samples: &[f64], slowdown: f64, tests: usize) -> Verdict {
        if samples.is_empty() {
            return Verdict::Undecided;
        }
        let difference = self.detectable(slowdown).ln_1p();
        let deviation = if samples.len() >= MIN_SAMPLES_FOR_SCATTER {
            self.deviation.max(deviation(samples))
        } else {
            self.deviation
        };
        let evidence = |sample: &f64| {
            let cut = CUT * deviation;
            let distance = (sample - self.center).clamp(-cut, difference + cut);
            (distance - difference / 2.0) * difference / deviation.powi(2)
        };
        let evidence: f64 = samples.iter().map(evidence).sum();
        if evidence <= MISS_RATE.ln() {
            Verdict::Unchanged
        } else if evidence >= ((1.0 - MISS_RATE) * tests.max(1) as f64 / FALSE_ALARM_RATE).ln()
            && samples.len() >= MIN_SAMPLES_FOR_ALARM
            && median(samples) - self.center > difference / 2.0
        {
            Verdict::Slower
        } else if samples.len() >= MAX_SAMPLES {
            Verdict::Unchanged
        } else {
            Verdict::Undecided
        }
    }
}

/// The standard deviation, computed from the distances and not from their squares, so that a single
/// wild sample does not hide a change.
pub(crate) fn deviation(samples: &[f64]) -> f64 {
    let center = median(samples);
    let distances: Vec<f64> = samples.iter().map(|sample| (sample - center).abs()).collect();
    let bessel = samples.len() as f64 / (samples.len() - 1) as f64;
    (DEVIATION_OVER_MEAN_DISTANCE * bessel * mean(&distances)).max(MIN_DEVIATION)
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::statistics::tests::normal;

    const SLOWDOWN: f64 = 0.05;
    const REFERENCE_SAMPLES: usize = 30;

    /// A sample of a machine whose samples scatter by `deviation`, one in twenty of them wildly.
    fn sample(random: &mut Rng, center: f64, deviation: f64) -> f64 {
        let wild = if random.f64() < 0.05 { 4.0 } else { 1.0 };
        center + wild * deviation * normal(random)
    }

    /// The number of `runs` runs that end in an alarm, and the number of samples of all runs. Every
    /// ten runs have a new reference.
    fn alarms(runs: usize, deviation: f64, slowdown: f64) -> (usize, usize) {
        let mut random = Rng::with_seed(1 + (slowdown * 1e3) as u64);
        let mut reference = None;
        let center = 0.7;
        let (mut alarms, mut taken) = (0, 0);
        for run in 0..runs {
            if run % 10 == 0 {
                let samples: Vec<f64> = (0..REFERENCE_SAMPLES)
                    .map(|_| sample(&mut random, center, deviation))
                    .collect();
                reference = Reference::of(&samples);
            }
            let reference = reference.expect("enough samples");
            let mut samples = Vec::new();
            let verdict = loop {
                samples.push(sample(&mut random, center + slowdown.ln_1p(), deviation));
                match reference.verdict(&samples, SLOWDOWN, 1) {
                    Verdict::Undecided => {}
                    verdict => break verdict,
                }
            };
            taken += samples.len();
            alarms += usize::from(verdict == Verdict::Slower);
        }
        (alarms, taken)
    }

    #[test]
    fn the_false_alarm_rate_is_as_stated_and_few_samples_decide() {
        for deviation in [0.003, 0.0125, 0.03, 0.06] {
            let (alarms, samples) = alarms(20_000, deviation, 0.0);
            assert!(alarms <= 20, "{alarms} of 20000 at {deviation}");
            assert!(samples <= 4 * 20_000, "{samples} samples at {deviation}");
        }
    }

    #[test]
    fn a_detectable_slowdown_is_detected_95_times_in_100() {
        for deviation in [0.003, 0.01, 0.02, 0.04] {
            let reference = Reference {
                center: 0.0,
                // The deviation that a reference computes if one sample in twenty is wild.
                deviation: 1.15 * deviation,
            };
            let (detected, _) = alarms(2_000, deviation, reference.detectable(SLOWDOWN));
            assert!(detected >= 1_900, "{detected} of 2000 at {deviation}");
        }
    }

    #[test]
    fn a_speedup_is_no_alarm() {
        assert_eq!(alarms(500, 0.01, -0.05).0, 0);
    }

    #[test]
    fn too_few_samples_decide_nothing() {
        assert_eq!(Reference::of(&[1.0; MIN_REFERENCE_SAMPLES - 1]), None);
        let calm = Reference::of(&[1.0; MIN_REFERENCE_SAMPLES]).expect("enough samples");
        assert_eq!(calm.verdict(&[], SLOWDOWN, 1), Verdict::Undecided);
    }

    #[test]
    fn one_wild_sample_is_no_alarm() {
        let calm = Reference::of(&[1.0; MIN_REFERENCE_SAMPLES]).expect("enough samples");
        assert_eq!(calm.verdict(&[9.0], SLOWDOWN, 1), Verdict::Undecided);
        assert_eq!(calm.verdict(&[9.0, 1.0], SLOWDOWN, 1), Verdict::Undecided);
        assert_eq!(calm.verdict(&[1.015], SLOWDOWN, 1), Verdict::Unchanged);
        assert_eq!(calm.verdict(&[1.06; 4], SLOWDOWN, 1), Verdict::Slower);
    }
}
