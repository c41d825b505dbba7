//! Order statistics: on machines that others use too, means tell of the others.

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// Samples that a bootstrap draws: enough for the ends of a 95% interval to two digits.
const RESAMPLES: usize = 10_000;

/// The quantile `q` (0 to 1) of some values, interpolated between neighbours; NaN of none.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = q.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    below + (above - below) * place.fract()
}

/// The median; NaN of none.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The mean; NaN of none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Where the mean lies with 95% confidence, told by the bootstrap: the quantiles of the means of as many
/// values drawn from these, again and again. Differences of two systems on the same documents make it
/// the paired bootstrap. Two runs give the same; NaN of none.
pub fn mean_interval(values: &[f64]) -> [f64; 2] {
    let mut random = Random::new(0);
    let mut draw = || values[(random.uniform() * values.len() as f64) as usize];
    let means: Vec<f64> = if values.is_empty() {
        Vec::new()
    } else {
        let mut resampled = || values.iter().map(|_| draw()).sum::<f64>() / values.len() as f64;
        (0..RESAMPLES).map(|_| resampled()).collect()
    };
    [0.025, 0.975].map(|q| quantile(&means, q))
}

/// The standard deviation as the median absolute deviation tells it, which a few outliers do not
/// move.
pub fn robust_deviation(values: &[f64]) -> f64 {
    let centre = median(values);
    let distances: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
    // What makes it agree with the standard deviation of normally distributed values.
    1.4826 * median(&distances)
}

/// How values are distributed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// One in ten is below.
    pub p10: f64,
    /// One in four is below.
    pub p25: f64,
    /// Half are below.
    pub p50: f64,
    /// Three in four are below.
    pub p75: f64,
    /// Nine in ten are below.
    pub p90: f64,
    /// The mean.
    pub mean: f64,
}

impl Spread {
    /// The distribution of these values, of which there must be one at least.
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
mod tests {
    use super::*;

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
        // Of many normally distributed values: 1.96 standard deviations of the mean to each side.
        let mut random = Random::new(5);
        let values: Vec<f64> = (0..400).map(|_| 3.0 + f64::from(random.normal())).collect();
        let deviation = robust_deviation(&values);
        let half = 1.96 * deviation / 20.0;
        let [low, high] = mean_interval(&values);
        let centre = mean(&values);
        assert!((low - (centre - half)).abs() < 0.1 * half, "{low}");
        assert!((high - (centre + half)).abs() < 0.1 * half, "{high}");
        assert_eq!(mean_interval(&[2.0, 2.0]), [2.0, 2.0]);
        assert!(mean_interval(&[])[0].is_nan());
    }

    #[test]
    fn outliers_do_not_move_the_robust_deviation() {
        let calm: Vec<f64> = (0..101).map(|i| f64::from(i) / 100.0).collect();
        let mut wild = calm.clone();
        wild[100] = 1e6;
        assert!((robust_deviation(&calm) - robust_deviation(&wild)).abs() < 0.01);
    }
}
