//! Matrices of weights, in the precision of the bundle.
//!
//! What precision means is decided here, and nowhere in an architecture: [`Matrix::of`] stores a
//! matrix, [`Matrix::product`] and [`Matrix::rows`] write the operators that fit it.

use epitome_runtime::bundle::Precision;
use epitome_runtime::operators::{embedding, linear};

use super::activation::Activation;
use crate::arch::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;
use crate::quantize;

/// A matrix of the checkpoint, `[size_out, size_in]`.
#[derive(Clone, Debug)]
pub struct Matrix {
    form: Form,
    size_out: usize,
    size_in: usize,
}

#[derive(Clone, Debug)]
enum Form {
    /// float32 `[size_out, size_in]`, for stock operators.
    Plain(Value),
    /// Packed weights and what belongs to their columns, for operators of our own.
    Packed { weights: Value, columns: Value },
}

impl Matrix {
    /// The matrix of this name in the checkpoint, which must have this shape.
    pub fn of(
        b: &mut Builder<'_, '_>,
        name: &str,
        (size_out, size_in): (usize, usize),
    ) -> Result<Self> {
        let form = match b.weights.precision() {
            Precision::Fp32 => Form::Plain(b.weight(name, &[size_out, size_in])?),
            Precision::Int8 => {
                let mut packing = quantize::Int8::default();
                let stored = b
                    .weights
                    .store_packed(name, [size_out, size_in], &mut packing)?;
                Form::Packed {
                    weights: b.graph.weight(&stored.weights_key, &stored.weights),
                    columns: b.graph.weight(&stored.columns_key, &stored.columns),
                }
            }
        };
        Ok(Self {
            form,
            size_out,
            size_in,
        })
    }

    /// `activation(x · matrixᵀ + bias)`: `[rows, size_in]` to `[rows, size_out]`.
    pub fn product(
        &self,
        b: &mut Builder<'_, '_>,
        x: &Value,
        bias: Option<&Value>,
        activation: Activation,
    ) -> Value {
        match &self.form {
            Form::Plain(weight) => {
                let node = b.graph.node("Gemm").inputs([x, weight]).int("transB", 1);
                let y = match bias {
                    Some(bias) => node.input(bias).output(),
                    None => node.output(),
                };
                activation.apply(b, &y)
            }
            Form::Packed { weights, columns } => {
                let bits = b.side.activation_bits();
                let fused = activation.fused();
                let node = b
                    .graph
                    .own(linear::NAME)
                    .inputs([x, weights, columns])
                    .int(linear::SIZE_OUT, self.size_out as i64)
                    .int(linear::ACTIVATION_BITS, bits)
                    .string(linear::ACTIVATION, fused.unwrap_or_default().name());
                let y = match bias {
                    Some(bias) => node.input(bias).output(),
                    None => node.output(),
                };
                match fused {
                    Some(_) => y,
                    None => activation.apply(b, &y),
                }
            }
        }
    }

    /// The rows that `ids` name: `[rows, columns]` to `[rows, columns, size_in]`.
    pub fn rows(&self, b: &mut Builder<'_, '_>, ids: &Value) -> Value {
        match &self.form {
            Form::Plain(table) => b.graph.node("Gather").inputs([table, ids]).output(),
            Form::Packed { weights, columns } => b
                .graph
                .own(embedding::NAME)
                .inputs([ids, weights, columns])
                .int(embedding::SIZE_OUT, self.size_out as i64)
                .int(embedding::SIZE_IN, self.size_in as i64)
                .output(),
        }
    }
}
