//! Linear layers.

use super::activation::Activation;
use super::matrix::Matrix;
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;
use crate::packing::Role;

/// `torch.nn.Linear` with the checkpoint prefix `name`: `[rows, size_in]` to `[rows, size_out]`.
/// The bias is used if the checkpoint has one.
pub(crate) fn linear(
    b: &mut Builder<'_, '_>,
    name: &str,
    x: &Value,
    sizes: (usize, usize),
) -> Result<Value> {
    activated(b, name, x, sizes, Activation::Identity)
}

/// [`linear`] with an activation function.
pub(crate) fn activated(
    b: &mut Builder<'_, '_>,
    name: &str,
    x: &Value,
    (size_in, size_out): (usize, usize),
    activation: Activation,
) -> Result<Value> {
    let (weight, bias) = parameters(b, name, (size_in, size_out))?;
    Ok(weight.product(b, x, bias.as_ref(), activation))
}

/// [`linear`] of several layers with the same role and the same input `x`.
pub(crate) fn linears<const N: usize>(
    b: &mut Builder<'_, '_>,
    names: [String; N],
    x: &Value,
    sizes: (usize, usize),
    role: Role,
) -> Result<[Value; N]> {
    let mut layers = Vec::with_capacity(N);
    for name in &names {
        layers.push(parameters_for(b, name, sizes, role)?);
    }
    let layers = std::array::from_fn(|index| {
        let (matrix, bias) = &layers[index];
        (matrix, bias.as_ref())
    });
    Ok(Matrix::products(b, x, layers, Activation::Identity))
}

/// Weight and bias of the checkpoint prefix `name`, the bias if the checkpoint has one.
pub(crate) fn parameters(
    b: &mut Builder<'_, '_>,
    name: &str,
    sizes: (usize, usize),
) -> Result<(Matrix, Option<Value>)> {
    parameters_for(b, name, sizes, Role::Layer)
}

fn parameters_for(
    b: &mut Builder<'_, '_>,
    name: &str,
    (size_in, size_out): (usize, usize),
    role: Role,
) -> Result<(Matrix, Option<Value>)> {
    let weight = Matrix::of(b, &format!("{name}.weight"), (size_out, size_in), role)?;
    let bias_name = format!("{name}.bias");
    let bias = match b.weights.has(&bias_name) {
        true => Some(b.weight(&bias_name, &[size_out])?),
        false => None,
    };
    Ok((weight, bias))
}
