//! Layer norm and RMS norm of rows, and the residual addition before them.

use crate::dispatch;
use crate::parallel::{Disjoint, ThreadPool, parallel_for};

/// Rows of a task.
const ROWS_PER_TASK: usize = 16;
/// Values that are summed side by side.
const LANES: usize = 32;

/// A norm over rows of `size` values.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Scale: `[size]`.
    pub scale: &'a [f32],
    /// Bias: `[size]`.
    pub bias: Option<&'a [f32]>,
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether the mean is subtracted first: true for layer norm, false for RMS norm.
    pub centered: bool,
}

impl Norm<'_> {
    /// Normalizes `x + residual`, `[rows, size]`, to `normalized`. Also writes the sum to `sums`,
    /// if that is given.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than `x`.
    pub fn normalize<P: ThreadPool>(
        &self,
        pool: &P,
        x: &[f32],
        residual: Option<&[f32]>,
        normalized: &mut [f32],
        sums: Option<&mut [f32]>,
    ) -> Result<(), P::Error> {
        let size = self.scale.len();
        if x.is_empty() || size == 0 {
            return Ok(());
        }
        let (normalized, sums) = (Disjoint::new(normalized), sums.map(Disjoint::new));
        parallel_for(pool, x.len() / size, ROWS_PER_TASK, 4 * x.len(), |rows| {
            for row in rows {
                let range = row * size..(row + 1) * size;
                let x = &x[range.clone()];
                // SAFETY: only this task writes the row.
                let normalized = unsafe { normalized.part(range.clone()) };
                match residual {
                    Some(residual) => add(x, &residual[range.clone()], normalized),
                    None => normalized.copy_from_slice(x),
                }
                if let Some(sums) = &sums {
                    // SAFETY: only this task writes the row.
                    unsafe { sums.part(range) }.copy_from_slice(normalized);
                }
                normalize(normalized, self.scale, self.bias, self.epsilon, self.centered);
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

/// The sum of `term(number)` over the numbers of a row, in an order that does not depend on the
/// processor. It adds in double precision: of all roundings, float32 sums would move the logits
/// farthest from those of transformers.
#[inline(always)]
fn sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0f64; LANES];
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(term(value));
        }
    }
    let rest: f64 = rest.iter().map(|&value| f64::from(term(value))).sum();
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    (sums[0] + rest) as f32
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
    let values = row.iter_mut().zip(scale);
    match bias {
        Some(bias) => {
            for ((value, scale), bias) in values.zip(bias) {
                *value = (*value - mean) * inverse * scale + bias;
            }
        }
        None => {
            for (value, scale) in values {
                *value = (*value - mean) * inverse * scale;
            }
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
                let row: Vec<f32> =
                    (0..size).map(|index| (index * 37 % 101) as f32 / 20.0 + 3.0).collect();
                let scale: Vec<f32> = (0..size).map(|index| 1.0 + index as f32 / 500.0).collect();
                let bias: Vec<f32> = (0..size).map(|index| index as f32 / 100.0).collect();
                let mean = match centered {
                    true => row.iter().map(|&v| f64::from(v)).sum::<f64>() / size as f64,
                    false => 0.0,
                };
                let variance =
                    row.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>()
                        / size as f64;
                let mut normalized = row.clone();
                normalize(&mut normalized, &scale, Some(&bias), 1e-5, centered);
                for (index, &value) in normalized.iter().enumerate() {
                    let exact = (f64::from(row[index]) - mean) / (variance + 1e-5).sqrt()
                        * f64::from(scale[index])
                        + f64::from(bias[index]);
                    let error = (f64::from(value) - exact).abs();
                    assert!(error < 1e-5 * exact.abs().max(1.0), "{value} and not {exact}");
                }
            }
        }
    }
}
