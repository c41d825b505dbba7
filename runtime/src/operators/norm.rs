//! `Norm`: normalization of rows, and the residual addition before it.
//!
//! ONNX Runtime's own takes a row's sums one number at a time, which in an encoder of integers takes
//! as long as a fifth of its multiplications.

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::parallel::{Disjoint, share};
use super::{input, optional_input};
use crate::simd::dispatch;

/// Its name in a graph.
pub const NAME: &str = "Norm";
/// Attribute, float: added to the variance.
pub const EPSILON: &str = "epsilon";
/// Attribute, integer: 1 where the mean is taken off first, as `torch.nn.LayerNorm` does, 0 for T5's norm, which
/// takes none.
pub const CENTERED: &str = "centered";

/// Rows that one thread takes at a time.
const ROWS_A_PART: usize = 16;
/// Numbers that are summed side by side.
const LANES: usize = 32;

/// The operator: float32 `x` of `[.., size]`, a scale of `[size]` and, each if there is one, a bias of `[size]` and
/// a residual of the shape of `x` that is added to it. To float32 of that shape: the sum normalized and, where it
/// is asked for, the sum.
#[derive(Clone, Copy, Debug)]
pub struct Norm;

impl Operator for Norm {
    type Kernel<'attr> = NormKernel;

    fn name(&self) -> &str {
        NAME
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let float = TensorElementType::Float32;
        [
            OperatorInput::required(float),
            OperatorInput::required(float),
            OperatorInput::optional(float),
            OperatorInput::optional(float),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [
            OperatorOutput::required(TensorElementType::Float32),
            OperatorOutput::optional(TensorElementType::Float32),
        ]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<NormKernel> {
        let missing = |name| ort::Error::new(format!("attribute '{name}' is missing"));
        Ok(NormKernel {
            epsilon: context.get(EPSILON).ok_or_else(|| missing(EPSILON))?,
            centered: context
                .get::<i64>(CENTERED)
                .ok_or_else(|| missing(CENTERED))?
                != 0,
        })
    }
}

/// A norm of a loaded graph.
pub struct NormKernel {
    epsilon: f32,
    centered: bool,
}

impl Kernel for NormKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, x) = input::<f32>(context, 0)?;
        let (_, scale) = input::<f32>(context, 1)?;
        let bias = optional_input::<f32>(context, 2)?.map(|(_, bias)| bias);
        let residual = optional_input::<f32>(context, 3)?.map(|(_, residual)| residual);
        let size = scale.len();
        if shape.last() != Some(&size)
            || bias.is_some_and(|bias| bias.len() != size)
            || residual.is_some_and(|residual| residual.len() != x.len())
        {
            return Err(ort::Error::new(format!(
                "x of {shape:?}, a scale of {size}, a bias of {:?} and a residual of {:?} numbers do not fit \
                 each other",
                bias.map(<[f32]>::len),
                residual.map(<[f32]>::len),
            )));
        }
        let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
        let mut output = context
            .output(0, dims.clone())?
            .ok_or_else(|| ort::Error::new("there is no output"))?;
        let (_, normalized) = output.try_extract_tensor_mut::<f32>()?;
        let mut sums = context.output(1, dims)?;
        let sums = match &mut sums {
            Some(sums) => Some(sums.try_extract_tensor_mut::<f32>()?.1),
            None => None,
        };
        if x.is_empty() {
            return Ok(());
        }
        let (normalized, sums) = (Disjoint::new(normalized), sums.map(Disjoint::new));
        share(context, x.len() / size, ROWS_A_PART, 4 * x.len(), |rows| {
            for row in rows {
                let place = row * size..(row + 1) * size;
                let x = &x[place.clone()];
                let residual = residual.map(|residual| &residual[place.clone()]);
                // SAFETY: each row is written by the one thread that has it.
                let normalized = unsafe { normalized.part(place.clone()) };
                match residual {
                    Some(residual) => add(x, residual, normalized),
                    None => normalized.copy_from_slice(x),
                }
                if let Some(sums) = &sums {
                    // SAFETY: as above.
                    unsafe { sums.part(place) }.copy_from_slice(normalized);
                }
                normalize(normalized, scale, bias, self.epsilon, self.centered);
            }
        })
    }
}

#[inline(always)]
fn add_body(x: &[f32], residual: &[f32], sum: &mut [f32]) {
    for ((sum, x), residual) in sum.iter_mut().zip(x).zip(residual) {
        *sum = x + residual;
    }
}

dispatch! {
    fn add(x: &[f32], residual: &[f32], sum: &mut [f32]) = add_body;
}

/// The sum of what `term` makes of each number, in an order that does not depend on the processor.
#[inline(always)]
fn sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += term(value);
        }
    }
    let rest: f32 = rest.iter().map(|&value| term(value)).sum();
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + rest
}

#[inline(always)]
fn normalize_body(
    row: &mut [f32],
    scale: &[f32],
    bias: Option<&[f32]>,
    epsilon: f32,
    centered: bool,
) {
    let size = row.len() as f32;
    let mean = match centered {
        true => sum(row, |value| value) / size,
        false => 0.0,
    };
    let variance = sum(row, |value| (value - mean) * (value - mean)) / size;
    let inverse = 1.0 / (variance + epsilon).sqrt();
    for (value, scale) in row.iter_mut().zip(scale) {
        *value = (*value - mean) * inverse * scale;
    }
    if let Some(bias) = bias {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
    }
}

dispatch! {
    /// Normalizes a row in place.
    fn normalize(
        row: &mut [f32],
        scale: &[f32],
        bias: Option<&[f32]>,
        epsilon: f32,
        centered: bool,
    ) = normalize_body;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_agree_with_double_precision() {
        for size in [1, 7, 32, 100, 1024] {
            for centered in [true, false] {
                let row: Vec<f32> = (0..size)
                    .map(|index| (index * 37 % 101) as f32 / 20.0 + 3.0)
                    .collect();
                let scale: Vec<f32> = (0..size).map(|index| 1.0 + index as f32 / 500.0).collect();
                let bias: Vec<f32> = (0..size).map(|index| index as f32 / 100.0).collect();
                let mean = match centered {
                    true => row.iter().map(|&v| f64::from(v)).sum::<f64>() / size as f64,
                    false => 0.0,
                };
                let variance = row
                    .iter()
                    .map(|&value| (f64::from(value) - mean).powi(2))
                    .sum::<f64>()
                    / size as f64;
                let mut normalized = row.clone();
                normalize(&mut normalized, &scale, Some(&bias), 1e-5, centered);
                for (index, &value) in normalized.iter().enumerate() {
                    let exact = (f64::from(row[index]) - mean) / (variance + 1e-5).sqrt()
                        * f64::from(scale[index])
                        + f64::from(bias[index]);
                    let error = (f64::from(value) - exact).abs();
                    assert!(
                        error < 1e-5 * exact.abs().max(1.0),
                        "{value} and not {exact}"
                    );
                }
            }
        }
    }
}
