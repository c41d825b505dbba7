//! Decides from ratios of figures whether one of them grew by more than the tolerance.

use serde::{Deserialize, Serialize};

use crate::sequential_test::{MAX_SAMPLES, MIN_REFERENCE_SAMPLES, Reference, Verdict, deviation};
use crate::statistics::{mean, median};

/// Number of rounds after which the measurement ends.
pub(super) const MAX_ROUNDS: usize = MAX_SAMPLES + MIN_REFERENCE_SAMPLES;

/// Outcome of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The figure did not grow by more than the tolerance.
    Kept,
    /// The figure grew by more than the tolerance.
    Worse,
    /// The figure scatters too much to tell.
    Unclear,
}

/// The logarithms of the ratios of a figure, one per round.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ratios {
    /// A second process of the old model over the first: the influence of chance.
    pub(super) chance: Vec<f64>,
    /// The new model over the old one: the change.
    pub(super) change: Vec<f64>,
}

/// The decision after some rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Decision {
    /// `None` while more rounds may tell.
    pub(super) outcome: Option<Outcome>,
    /// Relative growth.
    pub(super) growth: f64,
    /// Smallest growth that this number of rounds distinguishes from chance.
    pub(super) detectable: f64,
}

impl Ratios {
    /// The test decides between no growth and twice the tolerance, so that growth beyond the
    /// tolerance is evidence for "worse" and growth below it for "kept". If a round scatters too
    /// much for that, means of two, three or four rounds serve as samples. `tests` figures share
    /// the false-alarm rate.
    ///
    /// Both processes of the old model are equal, and all processes take turns at going first.
    /// Without a change the ratios thus lie around 1, and the reference needs no center of its own.
    pub(super) fn decide(&self, tolerance: f64, tests: usize) -> Decision {
        let rounds = self.change.len();
        let growth = if rounds == 0 { 0.0 } else { median(&self.change).exp_m1() };
        let wanted = 2.0 * tolerance;
        let undecided = Decision { outcome: None, growth, detectable: f64::INFINITY };
        let together = |count: usize| {
            let means =
                |ratios: &[f64]| -> Vec<f64> { ratios.chunks_exact(count).map(mean).collect() };
            let reference = Reference { center: 0.0, deviation: deviation(&means(&self.chance)) };
            (reference, means(&self.change))
        };
        let most = rounds / MIN_REFERENCE_SAMPLES;
        if most == 0 {
            return undecided;
        }
        let quiet = (1..=most).find(|&count| together(count).0.detectable(wanted) <= wanted);
        let (reference, samples) = together(quiet.unwrap_or(most));
        let outcome = match reference.verdict(&samples, wanted, tests) {
            Verdict::Slower => Some(Outcome::Worse),
            Verdict::Unchanged if quiet.is_some() => Some(Outcome::Kept),
            _ if rounds >= MAX_ROUNDS => Some(Outcome::Unclear),
            _ => None,
        };
        // Growth above half of what is detectable counts as worse.
        Decision { outcome, growth, detectable: reference.detectable(wanted) / 2.0 }
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::statistics::tests::normal;

    const TOLERANCE: f64 = 0.03;

    /// A ratio of times that scatter by `deviation`, one in twenty of them wildly.
    fn ratio(random: &mut Rng, deviation: f64, growth: f64) -> f64 {
        let wild = if random.f64() < 0.05 { 4.0 } else { 1.0 };
        growth.ln_1p() + wild * deviation * normal(random)
    }

    /// The number of `runs` runs for each outcome, if `tests` figures are tested at once and the
    /// first of them grows.
    fn outcomes(runs: usize, tests: usize, deviation: f64, growth: f64) -> [usize; 3] {
        let mut random = Rng::with_seed(7);
        let mut counts = [0; 3];
        for _ in 0..runs {
            let mut all = vec![Ratios::default(); tests];
            let outcome = loop {
                for (place, ratios) in all.iter_mut().enumerate() {
                    let growth = if place == 0 { growth } else { 0.0 };
                    ratios.chance.push(ratio(&mut random, deviation, 0.0));
                    ratios.change.push(ratio(&mut random, deviation, growth));
                }
                let outcomes: Vec<_> =
                    all.iter().map(|ratios| ratios.decide(TOLERANCE, tests).outcome).collect();
                if outcomes.contains(&Some(Outcome::Worse)) {
                    break Outcome::Worse;
                }
                if outcomes.iter().all(Option::is_some) {
                    let unclear = outcomes.contains(&Some(Outcome::Unclear));
                    break if unclear { Outcome::Unclear } else { Outcome::Kept };
                }
            };
            counts[outcome as usize] += 1;
        }
        counts
    }

    #[test]
    fn false_alarms_are_as_rare_as_stated() {
        for (tests, deviation) in [(1, 0.005), (1, 0.018), (1, 0.035), (5, 0.015), (5, 0.03)] {
            let [_, worse, _] = outcomes(2_000, tests, deviation, 0.0);
            assert!(worse <= 4, "{worse} of 2000 with {tests} figures at {deviation}");
        }
    }

    #[test]
    fn twice_the_tolerance_is_found_95_times_in_100() {
        for (tests, deviation) in [(1, 0.005), (1, 0.015), (5, 0.015), (1, 0.025)] {
            let [kept, worse, unclear] = outcomes(500, tests, deviation, 2.0 * TOLERANCE);
            assert!(worse >= 475, "{kept} {worse} {unclear} with {tests} at {deviation}");
        }
    }

    #[test]
    fn a_quiet_machine_decides_and_a_noisy_one_says_so() {
        let [kept, ..] = outcomes(200, 3, 0.01, 0.0);
        assert!(kept >= 198, "{kept}");
        let [kept, _, unclear] = outcomes(200, 1, 0.2, 0.0);
        assert!(unclear >= 195 && kept <= 5, "{kept} {unclear}");
        // Growth beyond all noise is found on any machine.
        assert_eq!(outcomes(50, 1, 0.1, 2.0)[Outcome::Worse as usize], 50);
    }

    #[test]
    fn too_few_rounds_decide_nothing() {
        let ratios = Ratios { chance: vec![0.0; 9], change: vec![1.0; 9] };
        assert_eq!(ratios.decide(TOLERANCE, 1).outcome, None);
        assert_eq!(Ratios::default().decide(TOLERANCE, 1).outcome, None);
    }
}
