//! Feed-forward layers.

use super::activation::Activation;
use super::linear::{activated, linear, parameters};
use super::matrix::Matrix;
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// The two linear layers of a feed-forward sublayer, or three with a gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeedForward {
    /// Size between the linear layers.
    pub(crate) inner: usize,
    /// Activation function between the linear layers.
    pub(crate) activation: Activation,
    /// Names of the linear layers.
    pub(crate) names: FeedForwardNames,
}

/// Names of the linear layers of a [`FeedForward`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum FeedForwardNames {
    /// `down(activation(up(x)))`
    Plain([&'static str; 2]),
    /// `down(activation(gate(x)) * up(x))`, in the order gate, up, down.
    Gated([&'static str; 3]),
}

impl FeedForward {
    /// Applies the layers: `[rows, hidden]` to the same shape. `name` is the prefix of the linear
    /// layers.
    pub(crate) fn apply(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        hidden: usize,
    ) -> Result<Value> {
        if let Some(activation) = self.activation.fused() {
            let layers = self.layers(b, name, hidden)?;
            if let Some(y) = Matrix::feed_forward(b, x, None, &layers, activation) {
                return Ok(y);
            }
        }
        let full = |part: &str| format!("{name}.{part}");
        let (inward, outward) = ((hidden, self.inner), (self.inner, hidden));
        let (inner, down) = match self.names {
            FeedForwardNames::Plain([up, down]) => {
                let inner = activated(b, &full(up), x, inward, self.activation)?;
                (inner, down)
            }
            FeedForwardNames::Gated([gate, up, down]) => {
                let gate = activated(b, &full(gate), x, inward, self.activation)?;
                let inner = linear(b, &full(up), x, inward)?;
                (b.graph.node("Mul").inputs([&gate, &inner]).output(), down)
            }
        };
        linear(b, &full(down), &inner, outward)
    }

    /// The layers `up`, `down` and, if there is one, `gate`, each with its bias.
    pub(crate) fn layers(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        hidden: usize,
    ) -> Result<Vec<(Matrix, Option<Value>)>> {
        let (inward, outward) = ((hidden, self.inner), (self.inner, hidden));
        let mut layer = |part: &str, sizes| parameters(b, &format!("{name}.{part}"), sizes);
        Ok(match self.names {
            FeedForwardNames::Plain([up, down]) => vec![layer(up, inward)?, layer(down, outward)?],
            FeedForwardNames::Gated([gate, up, down]) => {
                let gate = layer(gate, inward)?;
                vec![layer(up, inward)?, layer(down, outward)?, gate]
            }
        })
    }
}
