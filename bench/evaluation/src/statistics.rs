//! Quantiles, means and their intervals. Latencies are summarized by quantiles, because other
//! programs on the machine move the mean.

use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// Number of resamples of a bootstrap, enough for the ends of a 95% interval to two digits.
const RESAMPLES: usize = 10_000;

/// The quantile `q` (0 to 1) of the values, interpolated between neighbours; NaN if there are none.
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = q.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The median; NaN if there are no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The mean; NaN if there are no values.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The 95% confidence interval of the mean, by the bootstrap; NaN if there are no values. On
/// differences of two systems over the same documents this is the paired bootstrap. Two calls give
/// the same interval.
pub(crate) fn mean_interval(values: &[f64]) -> [f64; 2] {
    mean_quantiles(values, [0.025, 0.975])
}

/// Quantiles of the mean, by the bootstrap.
pub(crate) fn mean_quantiles<const N: usize>(values: &[f64], quantiles: [f64; N]) -> [f64; N] {
    let mut random = Rng::with_seed(0);
    let mut resampled =
        || -> f64 { values.iter().map(|_| values[random.usize(..values.len())]).sum() };
    let means: Vec<f64> = match values.len() {
        0 => Vec::new(),
        count => (0..RESAMPLES).map(|_| resampled() / count as f64).collect(),
    };
    quantiles.map(|q| quantile(&means, q))
}

/// Percentiles and the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The 10th percentile.
    pub p10: f64,
    /// The 25th percentile.
    pub p25: f64,
    /// The median.
    pub p50: f64,
    /// The 75th percentile.
    pub p75: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The mean.
    pub mean: f64,
}

impl Spread {
    /// The distribution of these values; NaN if there are none.
    pub fn of(values: &[f64]) -> Self {
        Self {
            p10: quantile(values, 0.1),
            p25: quantile(values, 0.25),
            p50: quantile(values, 0.5),
            p75: quantile(values, 0.75),
            p90: quantile(values, 0.9),
            mean: mean(values),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A number with almost a normal distribution, of mean 0 and variance 1. It is computed from
    /// four uniform numbers from 0 to 1, which have mean 2 and variance 1/3.
    pub(crate) fn normal(random: &mut Rng) -> f64 {
        let sum: f64 = (0..4).map(|_| random.f64()).sum();
        (sum - 2.0) * 3.0_f64.sqrt()
    }

    #[test]
    fn quantiles_interpolate() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(median(&values), 2.5);
        assert_eq!(quantile(&values, 0.0), 1.0);
        assert_eq!(quantile(&values, 1.0), 4.0);
        assert!((quantile(&values, 0.9) - 3.7).abs() < 1e-12);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
        assert_eq!(Spread::of(&values).mean, 2.5);
    }

    #[test]
    fn the_bootstrap_agrees_with_theory() {
        // The interval of many normally distributed values extends 1.96 standard deviations of the
        // mean to each side.
        let mut random = Rng::with_seed(5);
        let values: Vec<f64> = (0..400).map(|_| 3.0 + normal(&mut random)).collect();
        let center = mean(&values);
        let squares: Vec<f64> = values.iter().map(|value| (value - center).powi(2)).collect();
        let half = 1.96 * mean(&squares).sqrt() / 20.0;
        let [low, high] = mean_interval(&values);
        assert!((low - (center - half)).abs() < 0.1 * half, "{low}");
        assert!((high - (center + half)).abs() < 0.1 * half, "{high}");
        assert_eq!(mean_interval(&[2.0, 2.0]), [2.0, 2.0]);
        assert!(mean_interval(&[])[0].is_nan());
    }
}
