//! Weight matrices in the precision of the bundle.
//!
//! Only this file handles the precision: [`Matrix::of`] stores a matrix, [`Matrix::product`] and
//! [`Matrix::rows`] write the operators for it. Architectures do not know it.

use epitome_quantize::Packing;
use epitome_runtime::kernels;
use epitome_runtime::operators::linear::Operators;
use epitome_runtime::operators::{embedding, feed_forward, linear, observe};

use super::activation::Activation;
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::{NodeBuilder, Value};
use crate::packing::{self, Role};

/// A matrix of the checkpoint, `[size_out, size_in]`.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    form: Form,
    size_out: usize,
    size_in: usize,
}

#[derive(Clone, Debug)]
enum Form {
    /// float32 `[size_out, size_in]`, for standard operators.
    Plain(Value),
    /// Packed weights, for custom operators.
    Packed(Packed),
}

/// A packed matrix, and the operators that read it.
#[derive(Clone, Debug)]
struct Packed {
    /// Name of the matrix in the checkpoint.
    name: String,
    role: Role,
    weights: Value,
    /// Data of the columns that the format needs beside the weights, such as scales.
    columns: Option<Value>,
    operators: Operators,
    /// Number of bits that the operators round activations to.
    activation_bits: Option<i64>,
    embedding: Option<&'static str>,
}

impl Packed {
    fn of(
        b: &mut Builder<'_, '_>,
        name: &str,
        dims: [usize; 2],
        role: Role,
        packing: &mut dyn Packing,
    ) -> Result<Self> {
        let stored = b.weights.store_packed(name, dims, packing)?;
        let columns = stored.columns.as_ref();
        let format = packing.format();
        Ok(Self {
            name: name.into(),
            role,
            weights: b.graph.weight(&stored.weights_key, &stored.weights),
            columns: columns.map(|(key, columns)| b.graph.weight(key, columns)),
            operators: packing::operators(format),
            activation_bits: packing.activation_bits(b.side.activation_bits()),
            embedding: packing::embedding(format),
        })
    }

    /// Names `x` as the input of these matrices of `size_in` inputs, so that calibration can
    /// observe it. Does nothing for matrices that calibration does not round.
    fn observed<'m>(
        b: &mut Builder<'_, '_>,
        x: &Value,
        size_in: usize,
        matrices: impl Iterator<Item = &'m Self>,
    ) -> Value {
        let tensor = format!("{}/{}", b.side.name(), x.name());
        let Some(readers) = b.weights.readers() else {
            return x.clone();
        };
        let rounded = matrices.filter(|matrix| matrix.role == Role::Layer);
        let is_new = rounded
            .fold(false, |is_new, matrix| readers.add(&matrix.name, &tensor, size_in) | is_new);
        match is_new {
            true => {
                b.graph.custom(observe::NAME).input(x).string(observe::TENSOR, &tensor).output()
            }
            false => x.clone(),
        }
    }

    /// Whether one operator can multiply with both matrices, if they have the same sizes.
    fn has_format_of(&self, other: &Self) -> bool {
        (self.operators.linear, self.activation_bits)
            == (other.operators.linear, other.activation_bits)
    }

    /// Adds the attribute for the bits of activations to an operator.
    fn with_activation_bits<'g>(&self, node: NodeBuilder<'g>) -> NodeBuilder<'g> {
        match self.activation_bits {
            Some(bits) => node.int(linear::ACTIVATION_BITS, bits),
            None => node,
        }
    }

    /// Products with matrices of the [same format](Self::has_format_of), each with its bias.
    fn products<const N: usize>(
        b: &mut Builder<'_, '_>,
        x: &Value,
        layers: &[(&Self, Option<&Value>)],
        (size_out, function): (usize, kernels::activation::Activation),
    ) -> [Value; N] {
        assert_eq!(layers.len(), N, "an output for each layer");
        let (first, _) = layers[0];
        let node = b.graph.custom(first.operators.linear).input(x);
        let node = layers.iter().fold(node, |node, (packed, bias)| {
            node.input(&packed.weights).optional(packed.columns.as_ref()).optional(*bias)
        });
        let node =
            node.int(linear::SIZE_OUT, size_out as i64).string(linear::ACTIVATION, function.name());
        first.with_activation_bits(node).outputs()
    }
}

impl Matrix {
    /// The matrix `name` of the checkpoint, which must have the shape `dims`.
    pub(crate) fn of(
        b: &mut Builder<'_, '_>,
        name: &str,
        (size_out, size_in): (usize, usize),
        role: Role,
    ) -> Result<Self> {
        let dims = [size_out, size_in];
        let form = match b.is_portable() {
            true => Form::Plain(b.weight(name, &dims)?),
            false => {
                let mut packing = b.weights.packing(name, size_in, role);
                Form::Packed(Packed::of(b, name, dims, role, &mut *packing)?)
            }
        };
        Ok(Self { form, size_out, size_in })
    }

    /// The matrix `name` in float32, whatever the precision of the bundle.
    pub(crate) fn exact(b: &mut Builder<'_, '_>, name: &str, dims: (usize, usize)) -> Result<Self> {
        Self::of(b, name, dims, Role::Exact)
    }

    /// The table `name` of the checkpoint, of an embedding, of the output layer, or of both. It
    /// must have the shape `dims`.
    pub(crate) fn table(b: &mut Builder<'_, '_>, name: &str, dims: (usize, usize)) -> Result<Self> {
        Self::of(b, name, dims, Role::Table)
    }

    /// `activation(x · matrixᵀ + bias)`: `[rows, size_in]` to `[rows, size_out]`.
    pub(crate) fn product(
        &self,
        b: &mut Builder<'_, '_>,
        x: &Value,
        bias: Option<&Value>,
        activation: Activation,
    ) -> Value {
        let [y] = Self::products(b, x, [(self, bias)], activation);
        y
    }

    /// [`product`](Self::product) with several matrices, in one operator if all have the same
    /// format and the same sizes.
    pub(crate) fn products<const N: usize>(
        b: &mut Builder<'_, '_>,
        x: &Value,
        layers: [(&Self, Option<&Value>); N],
        activation: Activation,
    ) -> [Value; N] {
        let packed = layers.iter().filter_map(|(matrix, bias)| match &matrix.form {
            Form::Plain(_) => None,
            Form::Packed(packed) => Some((packed, *bias)),
        });
        let packed: Vec<_> = packed.collect();
        let size_in = layers[0].0.size_in;
        let x = &Packed::observed(b, x, size_in, packed.iter().map(|(packed, _)| *packed));
        let fused = activation.fused().filter(|_| packed.len() == N);
        let function = fused.unwrap_or_default();
        let sizes = layers.map(|(matrix, _)| [matrix.size_out, matrix.size_in]);
        let are_alike = packed.len() == N
            && packed.iter().all(|(one, _)| one.has_format_of(packed[0].0))
            && sizes.iter().all(|size| *size == sizes[0]);
        let ys = match are_alike {
            true => Packed::products(b, x, &packed, (sizes[0][0], function)),
            false => layers.map(|(matrix, bias)| match &matrix.form {
                Form::Plain(weight) => {
                    let node = b.graph.node("Gemm").inputs([x, weight]).int("transB", 1);
                    node.optional(bias).output()
                }
                Form::Packed(packed) => {
                    let sizes = (matrix.size_out, function);
                    let [y] = Packed::products(b, x, &[(packed, bias)], sizes);
                    y
                }
            }),
        };
        match fused {
            Some(_) => ys,
            None => ys.map(|y| activation.apply(b, &y)),
        }
    }

    /// Feed-forward layers in one operator, `[rows, size_in]` to `[rows, size_out]`, if all
    /// `layers` are packed: `up`, `down` and, if there is one, `gate`, each with its bias. With
    /// `routing_weights`, `[rows, experts]`, the layers are `up` and `down` of each expert in turn.
    pub(crate) fn feed_forward(
        b: &mut Builder<'_, '_>,
        x: &Value,
        routing_weights: Option<&Value>,
        layers: &[(Self, Option<Value>)],
        activation: kernels::activation::Activation,
    ) -> Option<Value> {
        if b.weights.readers().is_some() {
            // Calibration observes the input of `down`, which the fused operator hides.
            return None;
        }
        let mut inputs = Vec::new();
        for (matrix, bias) in layers {
            let Form::Packed(packed) = &matrix.form else {
                return None;
            };
            inputs.extend([Some(&packed.weights), packed.columns.as_ref(), bias.as_ref()]);
        }
        let [(Self { form: Form::Packed(up), size_out: inner, .. }, bias), (down, _), ..] = layers
        else {
            return None;
        };
        let node = match routing_weights {
            // The operator has a variable number of inputs: an absent bias would leave no gap.
            Some(weights) if layers.iter().all(|(_, other)| other.is_some() == bias.is_some()) => {
                let node = b.graph.custom(up.operators.experts).inputs([x, weights]);
                node.inputs(inputs.into_iter().flatten())
            }
            Some(_) => return None,
            None => {
                let node = b.graph.custom(up.operators.feed_forward).input(x);
                inputs.into_iter().fold(node, NodeBuilder::optional)
            }
        };
        let node = node
            .int(feed_forward::SIZE_INNER, *inner as i64)
            .int(linear::SIZE_OUT, down.size_out as i64)
            .string(linear::ACTIVATION, activation.name());
        Some(up.with_activation_bits(node).output())
    }

    /// Looks up the rows `ids`: `[rows, columns]` to `[rows, columns, size_in]`.
    pub(crate) fn rows(&self, b: &mut Builder<'_, '_>, ids: &Value) -> Value {
        match &self.form {
            Form::Plain(table) => b.graph.node("Gather").inputs([table, ids]).output(),
            Form::Packed(packed) => b
                .graph
                .custom(packed.embedding.expect("tables are packed as tables"))
                .inputs([ids, &packed.weights])
                .optional(packed.columns.as_ref())
                .int(embedding::SIZE_OUT, self.size_out as i64)
                .int(embedding::SIZE_IN, self.size_in as i64)
                .output(),
        }
    }
}
