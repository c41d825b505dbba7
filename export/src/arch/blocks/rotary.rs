//! Rotary positions: queries and keys are rotated by the position of their token (Su et al. 2021,
//! "RoFormer: Enhanced Transformer with Rotary Position Embedding").

use epitome_runtime::operators::{positions, rotary};

use super::inputs::Tokens;
use crate::arch::builder::Builder;
use crate::arch::config::{ModelConfig, wrong};
use crate::error::Result;
use crate::onnx::graph::Value;
use crate::onnx::proto::ElementType::Float;

/// Parameters of the frequencies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rotary {
    /// `rope_theta`: the frequencies fall from 1 to about `1 / theta`.
    pub(crate) theta: f32,
    /// Linear scaling: positions are divided by `factor`.
    pub(crate) factor: f32,
}

impl Rotary {
    /// Reads `rope_parameters`, or `rope_scaling` of transformers 4. `theta` is the default of
    /// `rope_theta`.
    ///
    /// Agrees with `_compute_linear_scaling_rope_parameters` in
    /// `transformers/modeling_rope_utils.py`.
    pub(crate) fn from_config(parameters: &ModelConfig, theta: f32) -> Result<Self> {
        let kind = parameters.string_or("rope_type", parameters.string_or("type", "default")?)?;
        let factor = match kind {
            "default" => 1.0,
            "linear" => parameters.positive_or("factor", 1.0)?,
            _ => {
                return Err(wrong(
                    "rope_type",
                    format_args!("is '{kind}', but must be default or linear"),
                ));
            }
        };
        Ok(Self { theta: parameters.positive_or("rope_theta", theta)?, factor })
    }

    /// The frequencies of heads of `size`, computed in float32 as in PyTorch.
    fn frequencies(self, size: usize) -> Vec<f32> {
        let frequency = |pair: usize| {
            let exponent = (2 * pair) as f32 / size as f32;
            let power = f64::from(self.theta).powf(f64::from(exponent)) as f32;
            1.0 / power / self.factor
        };
        (0..size / 2).map(frequency).collect()
    }

    /// Rotates queries or keys with heads of `size`: `[rows, heads * size]`, or in the portable
    /// layout `[batch, heads, tokens, size]`, to the same shape.
    pub(crate) fn rotate(
        self,
        b: &mut Builder<'_, '_>,
        x: &Value,
        size: usize,
        tokens: Tokens<'_>,
    ) -> Result<Value> {
        let key = format!("rotary/{}_{}_{size}", self.theta, self.factor);
        let positions = tokens.positions(b);
        let frequencies = b.computed(&key, &[size / 2], || self.frequencies(size))?;
        if !b.is_portable() {
            let sinusoids = b.graph.shared("positions", &key, |graph| {
                graph
                    .custom(positions::NAME)
                    .input(&positions)
                    .optional(None)
                    .input(&frequencies)
                    .int(positions::SIZE, size as i64)
                    .int(positions::PADDING, -1)
                    .output()
            });
            return Ok(b.graph.custom(rotary::NAME).inputs([x, &sinusoids]).output());
        }
        let angles = b.graph.shared("positions", &key, |graph| {
            let last = graph.int64s(&[1]);
            let positions = graph.node("Cast").input(&positions).int("to", Float as i64).output();
            let positions = graph.node("Unsqueeze").inputs([&positions, &last]).output();
            graph.node("Mul").inputs([&positions, &frequencies]).output()
        });
        let [cosines, sines] = ["Cos", "Sin"].map(|function| {
            b.graph.shared("positions", &format!("{key}/{function}"), |graph| {
                graph.node(function).input(&angles).output()
            })
        });
        let graph = &mut b.graph;
        let node = graph.node("Split").input(x).int("axis", -1).int("num_outputs", 2);
        let [first, second] = node.outputs();
        let mut product = |a: &Value, b: &Value| graph.node("Mul").inputs([a, b]).output();
        let pairs = [product(&first, &cosines), product(&second, &sines)];
        let other = [product(&second, &cosines), product(&first, &sines)];
        let first = graph.node("Sub").inputs(&pairs).output();
        let second = graph.node("Add").inputs(&other).output();
        Ok(graph.node("Concat").inputs([&first, &second]).int("axis", -1).output())
    }
}

#[cfg(test)]
mod tests {
    use super::Rotary;

    #[test]
    fn frequencies_fall_from_one_by_powers_and_are_divided_by_the_factor() {
        let found = Rotary { theta: 10_000.0, factor: 4.0 }.frequencies(8);
        assert_eq!(found, [0.25, 0.025, 0.0025, 0.00025]);
    }
}
