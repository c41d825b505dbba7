//! The exponential, as a polynomial that compilers vectorize.

use super::ROUND;

/// Below this the result is less than the smallest normal number, and becomes 0.
const UNDERFLOW: f32 = -87.0;
/// Above this the result overflows.
const OVERFLOW: f32 = 88.0;

/// ln 2 in two parts. The first part has so few bits that its product with an exponent is exact.
#[allow(clippy::excessive_precision, reason = "as published")]
pub(crate) const LN_2: [f32; 2] = [0.693_359_375, -2.121_944_4e-4];
/// Coefficients of the polynomial, from the highest power down to the second.
#[allow(clippy::excessive_precision, reason = "as published")]
pub(crate) const SERIES: [f32; 6] = [
    1.987_569_15e-4,
    1.398_199_95e-3,
    8.333_451_9e-3,
    4.166_579_6e-2,
    1.666_666_55e-1,
    5.000_000_1e-1,
];

/// `e^x`, within 2 ulp for `x` in [-87, 88]; 0 below, infinity above, NaN for NaN.
///
/// Cody-Waite reduction to [-ln 2 / 2, ln 2 / 2] and a polynomial of degree 7 (the classic
/// coefficients of Cephes), without fused multiplications, so that every machine computes the same
/// bits.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let rest = x - power * LN_2[0] - power * LN_2[1];
    let mut series = SERIES[0];
    series = series * rest + SERIES[1];
    series = series * rest + SERIES[2];
    series = series * rest + SERIES[3];
    series = series * rest + SERIES[4];
    series = series * rest + SERIES[5];
    let mantissa = series * (rest * rest) + rest + 1.0;
    let scale = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    let result = mantissa * scale;
    let result = if x < UNDERFLOW { 0.0 } else { result };
    if x > OVERFLOW { f32::INFINITY } else { result }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_within_two_ulp() {
        let mut worst = 0.0_f64;
        for step in 0..2_000_000 {
            let x = -87.0 + 174.9 * (step as f32 / 2_000_000.0);
            let exact = f64::from(x).exp();
            let ulp = f64::from((exact as f32).to_bits()).mul_add(0.0, 1.0)
                * f64::from(f32::from_bits((exact as f32).to_bits() + 1) - exact as f32);
            worst = worst.max((f64::from(exp(x)) - exact).abs() / ulp);
        }
        assert!(worst < 2.0, "{worst} ulp");
    }

    #[test]
    fn ends_are_defined() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }
}
