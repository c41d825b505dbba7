//! Order statistics: on machines that others use too, means tell of the others.

use serde::{Deserialize, Serialize};

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
    fn outliers_do_not_move_the_robust_deviation() {
        let calm: Vec<f64> = (0..101).map(|i| f64::from(i) / 100.0).collect();
        let mut wild = calm.clone();
        wild[100] = 1e6;
        assert!((robust_deviation(&calm) - robust_deviation(&wild)).abs() < 0.01);
    }
}
