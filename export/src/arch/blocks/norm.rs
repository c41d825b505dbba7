//! Normalization, and the residual stream it belongs to.

use crate::arch::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// Where a layer normalizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Before each sublayer, and once after the last (PEGASUS, mBART).
    Pre,
    /// After each residual addition (BART, Marian).
    Post,
}

/// How a layer normalizes.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Size of the normalized dimension.
    pub size: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// Before or after the sublayers.
    pub placement: Placement,
}

impl Norm {
    /// `torch.nn.LayerNorm` of the checkpoint prefix `name`.
    pub fn layer_norm(&self, b: &mut Builder<'_, '_>, name: &str, x: &Value) -> Result<Value> {
        let [scale, bias] = self.parameters(b, name)?;
        let node = b
            .graph
            .node("LayerNormalization")
            .inputs([x, &scale, &bias]);
        Ok(node.int("axis", -1).float("epsilon", self.epsilon).output())
    }

    /// Adds `x` to `residual` and normalizes the sum, in one operator: `(normalized, sum)`.
    fn add(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        residual: &Value,
    ) -> Result<(Value, Value)> {
        let [scale, bias] = self.parameters(b, name)?;
        let node = b.graph.contrib("SkipLayerNormalization");
        let node = node
            .inputs([x, residual, &scale, &bias])
            .float("epsilon", self.epsilon);
        let [normalized, sum] = node.pick([0, 3]);
        Ok((normalized, sum))
    }

    fn parameters(&self, b: &mut Builder<'_, '_>, name: &str) -> Result<[Value; 2]> {
        Ok([
            b.weight(&format!("{name}.weight"), &[self.size])?,
            b.weight(&format!("{name}.bias"), &[self.size])?,
        ])
    }
}

/// The residual stream through a stack of sublayers.
///
/// Each sublayer reads [`input`](Self::input) and hands its result to [`add`](Self::add). The norms
/// are named in the order in which they run: one for each sublayer, and with [`Placement::Pre`] the
/// closing one behind them.
pub struct ResidualStream {
    norm: Norm,
    names: std::vec::IntoIter<String>,
    residual: Value,
    input: Value,
}

impl ResidualStream {
    /// Starts at `x`, which is `[rows, size]`.
    pub fn start(
        b: &mut Builder<'_, '_>,
        norm: Norm,
        names: Vec<String>,
        x: &Value,
    ) -> Result<Self> {
        let mut names = names.into_iter();
        let input = match (norm.placement, names.as_slice().first()) {
            (Placement::Pre, Some(first)) => {
                let input = norm.layer_norm(b, first, x)?;
                names.next();
                input
            }
            _ => x.clone(),
        };
        Ok(Self {
            norm,
            names,
            residual: x.clone(),
            input,
        })
    }

    /// What the next sublayer reads; after the last one, the result of the stack.
    pub fn input(&self) -> &Value {
        &self.input
    }

    /// Takes a sublayer's result into the stream.
    pub fn add(&mut self, b: &mut Builder<'_, '_>, x: &Value) -> Result<()> {
        let name = self
            .names
            .next()
            .expect("a norm is named for every sublayer");
        let (normalized, sum) = self.norm.add(b, &name, x, &self.residual)?;
        self.residual = match self.norm.placement {
            Placement::Pre => sum,
            Placement::Post => normalized.clone(),
        };
        self.input = normalized;
        Ok(())
    }
}
