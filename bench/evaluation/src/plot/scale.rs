//! Scales from values to pixels, and ticks of an axis.

/// A linear scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    values: (f64, f64),
    pixels: (f64, f64),
}

impl Scale {
    pub(super) fn new(values: (f64, f64), pixels: (f64, f64)) -> Self {
        Self { values, pixels }
    }

    /// The pixel of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = (value - self.values.0) / (self.values.1 - self.values.0);
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }
}

/// The range of the values with a margin. With `from_zero` it starts at zero if no value is
/// negative.
pub(super) fn range(values: impl Iterator<Item = f64>, from_zero: bool) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        return (0.0, 1.0);
    }
    if low == 0.0 && high == 0.0 {
        return (0.0, 1.0);
    }
    let air = match high - low {
        0.0 => high.abs() * 0.1,
        width => width * 0.05,
    };
    if from_zero && low >= 0.0 { (0.0, high + air) } else { (low - air, high + air) }
}

/// About five round values within a range.
pub(super) fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(power);
    let first = (low / step).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|tick| tick as f64 * step).collect()
}

/// The text of a tick.
pub(super) fn label(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match text {
        "-0" => "0".into(),
        text => text.replace('-', "\u{2212}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((-1.1, 2.6)), [-1.0, 0.0, 1.0, 2.0]);
        assert_eq!(ticks((0.0, 10.0)), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        for high in [0.01, 0.37, 3.0, 99.0, 12_345.0] {
            let ticks = ticks((0.0, high));
            assert!((4..=7).contains(&ticks.len()), "{high}: {ticks:?}");
            assert!(ticks.iter().all(|tick| *tick <= high * 1.0001));
        }
        assert_eq!(label(-0.5), "\u{2212}0.5");
        assert_eq!(label(200.0), "200");
        assert_eq!(label(-0.0), "0");
    }

    #[test]
    fn ranges_hold_every_value() {
        assert_eq!(range([].into_iter(), true), (0.0, 1.0));
        let (low, high) = range([5.0, 5.0].into_iter(), false);
        assert!(low < 5.0 && high > 5.0);
        assert_eq!(range([3.0, f64::NAN, 9.0].into_iter(), true).0, 0.0);
        assert_eq!(range([0.0, 0.0].into_iter(), false), (0.0, 1.0));
    }
}
