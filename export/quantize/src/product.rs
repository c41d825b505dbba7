//! Products of float32 matrices, with the kernels of the runtime.

use epitome_kernels::activation::Activation;
use epitome_kernels::float::Fp32;
use epitome_kernels::linear::Layer;
use epitome_kernels::panels::PANEL;
use epitome_kernels::parallel::SingleThread;

/// Computes `x · matrix`, `[rows, size_in]` times `[size_in, size_out]`, on this thread. The order
/// of a row's sum does not depend on the other rows.
pub(crate) fn multiply(
    x: &[f32],
    matrix: &[f32],
    [rows, size_in, size_out]: [usize; 3],
) -> Vec<f32> {
    let mut products = vec![0.0; rows * size_out];
    let layer = Layer {
        format: Fp32::default(),
        x,
        rows,
        packed: matrix,
        columns: &[],
        bias: None,
        size_in,
        size_out,
        activation: Activation::Identity,
    };
    let Ok(()) = layer.multiply(&SingleThread, &mut (), &mut products);
    products
}

/// Packs a matrix, `[size_in, size_out]`, for [`multiply`]: column by column in panels.
pub(crate) fn pack(
    [size_in, size_out]: [usize; 2],
    value: impl Fn(usize, usize) -> f32,
) -> Vec<f32> {
    let mut packed = vec![0.0; size_in * size_out.next_multiple_of(PANEL)];
    for row in 0..size_in {
        for column in 0..size_out {
            packed[(column / PANEL * size_in + row) * PANEL + column % PANEL] = value(row, column);
        }
    }
    packed
}
