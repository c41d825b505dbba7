//! Linear layers.

use crate::arch::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// `torch.nn.Linear` of the checkpoint prefix `name`: `[rows, size_in]` to `[rows, size_out]`.
/// The bias is used where the checkpoint has one.
pub fn linear(
    b: &mut Builder<'_, '_>,
    name: &str,
    x: &Value,
    (size_in, size_out): (usize, usize),
) -> Result<Value> {
    let weight = b.weight(&format!("{name}.weight"), &[size_out, size_in])?;
    let bias_name = format!("{name}.bias");
    let bias = match b.weights.has(&bias_name) {
        true => Some(b.weight(&bias_name, &[size_out])?),
        false => None,
    };
    Ok(product(b, x, &weight, bias.as_ref()))
}

/// `x · weightᵀ + bias`, with a weight of `[out, in]`.
pub fn product(b: &mut Builder<'_, '_>, x: &Value, weight: &Value, bias: Option<&Value>) -> Value {
    let node = b.graph.node("Gemm").inputs([x, weight]).int("transB", 1);
    match bias {
        Some(bias) => node.input(bias).output(),
        None => node.output(),
    }
}
