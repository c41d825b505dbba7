//! Activation functions, which a linear layer applies before it writes its result.

use crate::panels::PANEL;
use crate::simd::exp::exp;

/// An activation function, which is applied to every output.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// No function.
    #[default]
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `x * Φ(x)`, with the error function.
    Gelu,
    /// The approximation of [`Gelu`](Self::Gelu) with the hyperbolic tangent.
    GeluTanh,
    /// `x * sigmoid(x)`
    Silu,
    /// `x * sigmoid(1.702 x)`
    QuickGelu,
}

/// Names of the functions in a graph.
const NAMES: [(&str, Activation); 6] = [
    ("identity", Activation::Identity),
    ("relu", Activation::Relu),
    ("gelu", Activation::Gelu),
    ("gelu_tanh", Activation::GeluTanh),
    ("silu", Activation::Silu),
    ("quick_gelu", Activation::QuickGelu),
];

impl Activation {
    /// The function with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }

    /// The function's name in a graph.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, known)| *known == self).map_or("identity", |(name, _)| name)
    }

    /// The function's value at `x`.
    pub fn of(self, x: f32) -> f32 {
        let mut values = [x; PANEL];
        self.apply(&mut values);
        values[0]
    }

    /// Applies the function. The result has the same bits on every processor.
    #[inline(always)]
    pub(crate) fn apply(self, values: &mut [f32; PANEL]) {
        match self {
            Self::Identity => {}
            Self::Relu => each(values, |x| if x < 0.0 { 0.0 } else { x }),
            Self::Gelu => each(values, |x| 0.5 * x * (1.0 + erf_of_root_half(x))),
            Self::GeluTanh => {
                each(values, |x| x * sigmoid(1.595_769 * (x + 0.044_715 * x * x * x)));
            }
            Self::Silu => each(values, |x| x * sigmoid(x)),
            Self::QuickGelu => each(values, |x| x * sigmoid(1.702 * x)),
        }
    }
}

#[inline(always)]
fn each(values: &mut [f32; PANEL], function: impl Fn(f32) -> f32) {
    for value in values {
        *value = function(*value);
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `erf(x / sqrt(2))` within 4e-7. It is an odd rational function, a minimax fit on [-5.5, 5.5];
/// beyond, the result is 1 or -1. (A formula with the exponential, such as Abramowitz and Stegun's
/// 7.1.26, takes twice as many operations.)
#[inline(always)]
fn erf_of_root_half(x: f32) -> f32 {
    let square = x * x;
    let mut numerator = 4.549_868e-8_f32;
    numerator = numerator * square + 1.270_426_3e-5;
    numerator = numerator * square + 3.376_539_4e-4;
    numerator = numerator * square + 9.354_537e-3;
    numerator = numerator * square + 6.770_553_4e-2;
    numerator = numerator * square + 7.978_844_6e-1;
    let mut denominator = 1.197_504_2e-6_f32;
    denominator = denominator * square + 7.364_794e-5;
    denominator = denominator * square + 1.884_452_2e-3;
    denominator = denominator * square + 2.864_594_2e-2;
    denominator = denominator * square + 2.515_222e-1;
    denominator = denominator * square + 1.0;
    let within = x * numerator / denominator;
    if x.abs() > 5.5 { 1.0_f32.copysign(x) } else { within }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error function as a series in double precision.
    fn exact_erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn agree_with_double_precision() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let exact = |function, x: f64| match function {
            Activation::Identity => x,
            Activation::Relu => x.max(0.0),
            Activation::Gelu => 0.5 * x * (1.0 + exact_erf(x / std::f64::consts::SQRT_2)),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            }
            Activation::Silu => x * sigmoid(x),
            Activation::QuickGelu => x * sigmoid(1.702 * x),
        };
        for (name, function) in NAMES {
            assert_eq!(Activation::from_name(name), Some(function));
            assert_eq!(function.name(), name);
            for step in -6000..=6000 {
                let x = step as f32 / 1000.0;
                let mut values = [x; PANEL];
                function.apply(&mut values);
                let expected = exact(function, f64::from(x));
                assert!(
                    (f64::from(values[3]) - expected).abs() < 1e-6 * expected.abs().max(1.0),
                    "{name}({x}) = {} and not {expected}",
                    values[3]
                );
            }
        }
    }

    #[test]
    fn ends_are_defined() {
        for (name, function) in NAMES {
            let mut values = [0.0; PANEL];
            values[..4].copy_from_slice(&[f32::NAN, 1e30, -1e30, 100.0]);
            function.apply(&mut values);
            assert!(values[0].is_nan(), "{name}");
            assert_eq!(values[3], 100.0, "{name}");
            if function != Activation::Identity {
                assert!(values[2] <= 0.0 && values[2].is_finite(), "{name}");
            }
        }
    }
}
