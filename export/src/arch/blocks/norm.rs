//! Normalization, and the residual stream it belongs to.

use epitome_runtime::operators::norm;

use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// Where a layer normalizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Before each sublayer, and once after the last (PEGASUS, mBART).
    Pre,
    /// After each residual addition (BART, Marian).
    Post,
    /// Before each sublayer, once after the last, and on the result of each sublayer (T5Gemma). The
    /// names are those of the norms of the results of self-attention, cross-attention and
    /// feed-forward.
    Around([&'static str; 3]),
}

/// Kind of a norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// `torch.nn.LayerNorm`: to mean 0 and variance 1, then a scale and a bias.
    Layer,
    /// T5's norm: to a root mean square of 1, then a scale, without mean and bias.
    RootMeanSquare,
    /// As [`Self::RootMeanSquare`], where the checkpoint stores the scale minus 1 (Gemma).
    OffsetRootMeanSquare,
}

/// How a layer normalizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    /// Kind of the norm.
    pub(crate) kind: NormKind,
    /// Size of the normalized dimension.
    pub(crate) size: usize,
    /// Added to the variance.
    pub(crate) epsilon: f32,
    /// Where the layers normalize.
    pub(crate) placement: Placement,
}

impl Norm {
    /// Normalizes `x`, `[.., size]`, with the weights of the checkpoint prefix `name`.
    pub(crate) fn apply(&self, b: &mut Builder<'_, '_>, name: &str, x: &Value) -> Result<Value> {
        if !b.is_portable() {
            let [normalized] = self.custom(b, name, x, None)?;
            return Ok(normalized);
        }
        let scale = self.scale(b, name)?;
        match self.kind {
            NormKind::Layer => {
                let bias = self.bias(b, name)?;
                let node = b.graph.node("LayerNormalization").inputs([x, &scale, &bias]);
                Ok(node.int("axis", -1).float("epsilon", self.epsilon).output())
            }
            NormKind::RootMeanSquare | NormKind::OffsetRootMeanSquare => {
                // Standard operators: ONNX has this norm only from version 23 of its operator set,
                // and ONNX Runtime fuses these when it loads them.
                let graph = &mut b.graph;
                let [two, epsilon] = [graph.scalar(2.0), graph.scalar(self.epsilon)];
                let axis = graph.int64s(&[-1]);
                let squares = graph.node("Pow").inputs([x, &two]).output();
                let mean = graph.node("ReduceMean").inputs([&squares, &axis]).output();
                let mean = graph.node("Add").inputs([&mean, &epsilon]).output();
                let root = graph.node("Sqrt").input(&mean).output();
                let x = graph.node("Div").inputs([x, &root]).output();
                Ok(graph.node("Mul").inputs([&x, &scale]).output())
            }
        }
    }

    /// Adds `x` to `residual` and normalizes the sum, in one operator if possible. Returns
    /// `(normalized, sum)`.
    fn add(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        residual: &Value,
    ) -> Result<(Value, Value)> {
        if b.is_portable() {
            let sum = b.graph.node("Add").inputs([x, residual]).output();
            return Ok((self.apply(b, name, &sum)?, sum));
        }
        Ok(match self.placement {
            Placement::Pre | Placement::Around(_) => {
                self.custom(b, name, x, Some(residual))?.into()
            }
            Placement::Post => {
                // Nothing reads the sum, so that it need not be an output.
                let [normalized] = self.custom(b, name, x, Some(residual))?;
                (normalized.clone(), normalized)
            }
        })
    }

    /// The custom operator: the norm of `x + residual`. Its optional second output is the sum.
    fn custom<const N: usize>(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        residual: Option<&Value>,
    ) -> Result<[Value; N]> {
        let scale = self.scale(b, name)?;
        let bias = match self.kind {
            NormKind::Layer => Some(self.bias(b, name)?),
            NormKind::RootMeanSquare | NormKind::OffsetRootMeanSquare => None,
        };
        let node = b
            .graph
            .custom(norm::NAME)
            .inputs([x, &scale])
            .optional(bias.as_ref())
            .optional(residual)
            .int(norm::CENTERED, i64::from(bias.is_some()))
            .float(norm::EPSILON, self.epsilon);
        Ok(node.outputs())
    }

    fn scale(&self, b: &mut Builder<'_, '_>, name: &str) -> Result<Value> {
        let (name, dims) = (format!("{name}.weight"), [self.size]);
        if self.kind != NormKind::OffsetRootMeanSquare {
            return b.weight(&name, &dims);
        }
        let stored = b.weights.values(&name, &dims)?;
        b.computed(&format!("{name}/scale"), &dims, || {
            stored.iter().map(|value| value + 1.0).collect()
        })
    }

    fn bias(&self, b: &mut Builder<'_, '_>, name: &str) -> Result<Value> {
        b.weight(&format!("{name}.bias"), &[self.size])
    }
}

/// The residual stream through a stack of sublayers.
///
/// Each sublayer reads [`input`](Self::input) and passes its result to [`add`](Self::add). The
/// names of the norms are in the order in which they run: those of each sublayer, then the closing
/// norm unless the placement is [`Placement::Post`].
pub(crate) struct ResidualStream {
    norm: Norm,
    names: std::vec::IntoIter<String>,
    residual: Value,
    input: Value,
}

impl ResidualStream {
    /// Starts at `x`, which is `[rows, size]`.
    pub(crate) fn start(
        b: &mut Builder<'_, '_>,
        norm: Norm,
        names: Vec<String>,
        x: &Value,
    ) -> Result<Self> {
        let mut names = names.into_iter();
        let input = match (norm.placement, names.as_slice().first()) {
            (Placement::Pre | Placement::Around(_), Some(first)) => {
                let input = norm.apply(b, first, x)?;
                names.next();
                input
            }
            _ => x.clone(),
        };
        Ok(Self { norm, names, residual: x.clone(), input })
    }

    /// Input of the next sublayer; after the last sublayer, the result of the stack.
    pub(crate) fn input(&self) -> &Value {
        &self.input
    }

    /// Adds a sublayer's result to the stream.
    pub(crate) fn add(&mut self, b: &mut Builder<'_, '_>, x: &Value) -> Result<()> {
        let mut name = || self.names.next().expect("norms are named for every sublayer");
        let x = match self.norm.placement {
            Placement::Around(_) => &self.norm.apply(b, &name(), x)?,
            _ => x,
        };
        let (normalized, sum) = self.norm.add(b, &name(), x, &self.residual)?;
        self.residual = match self.norm.placement {
            Placement::Pre | Placement::Around(_) => sum,
            Placement::Post => normalized.clone(),
        };
        self.input = normalized;
        Ok(())
    }
}
