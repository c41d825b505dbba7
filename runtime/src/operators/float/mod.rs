//! Weights in float32, and in half precision, which halves the bytes that a step reads and loses next to nothing.
//!
//! A panel holds, for each input in turn, the weights of its outputs side by side. Halves are widened in registers, and
//! everything is computed in float32, each row in the same order whatever rows stand beside it.

mod kernel;

use std::cell::Cell;
use std::fmt::Debug;
use std::ops::Range;

use half::f16;
use ort::operator::{ComputeContext, KernelContext};
use ort::value::PrimitiveTensorElementType;

use self::kernel::{Product, multiply_f16, multiply_f32, panels_at_a_time};
use super::linear::{Format, Layer, Table};
use super::panels::{PANEL, panels};
use super::parallel::Disjoint;
use crate::simd::lanes::Stored;

/// Name of the linear layer over float32 weights in a graph.
pub const LINEAR_FP32: &str = "LinearFp32";
/// Name of the embedding of float32 in a graph.
pub const EMBEDDING_FP32: &str = "EmbeddingFp32";
/// Name of the linear layer over float16 weights in a graph.
pub const LINEAR_FP16: &str = "LinearFp16";
/// Name of the embedding of float16 in a graph.
pub const EMBEDDING_FP16: &str = "EmbeddingFp16";

/// Rows that pass the panels together: whole tiles of eight rows.
const ROWS: usize = 64;
/// Most panels that pass together.
const PANELS: usize = 4;

/// Shape of the packed tensor of an `[size_out, size_in]` matrix.
pub const fn packed_shape(size_out: usize, size_in: usize) -> [usize; 3] {
    [panels(size_out), size_in, PANEL]
}

/// A weight as it is stored.
pub(crate) trait Weight: PrimitiveTensorElementType + Stored {
    const LINEAR: &'static str;
    const EMBEDDING: &'static str;

    /// Multiplies with [`Product`], where the processor's instructions are chosen.
    fn multiply(product: &Product<'_, Self>, products: &mut [[f32; PANEL]]);
}

impl Weight for f32 {
    const LINEAR: &'static str = LINEAR_FP32;
    const EMBEDDING: &'static str = EMBEDDING_FP32;

    fn multiply(product: &Product<'_, Self>, products: &mut [[f32; PANEL]]) {
        multiply_f32(product, products);
    }
}

impl Weight for f16 {
    const LINEAR: &'static str = LINEAR_FP16;
    const EMBEDDING: &'static str = EMBEDDING_FP16;

    fn multiply(product: &Product<'_, Self>, products: &mut [[f32; PANEL]]) {
        multiply_f16(product, products);
    }
}

thread_local! {
    /// Room for the products of [`ROWS`] rows and [`PANELS`] panels, which each thread keeps: clearing it for every layer
    /// was a quarter of the instructions of a small model's step.
    static PRODUCTS: Cell<Vec<[f32; PANEL]>> = const { Cell::new(Vec::new()) };
}

/// Weights of the shape [`packed_shape`], and nothing beside them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Float<W>(std::marker::PhantomData<W>);

/// Weights in half precision.
pub(crate) type Fp16 = Float<f16>;
/// Weights in single precision.
pub(crate) type Fp32 = Float<f32>;

impl<W: Weight> Format for Float<W> {
    const LINEAR: &'static str = W::LINEAR;
    const COLUMNS: usize = 0;
    type Element = W;
    type Rows = ();

    fn packed_shape(size_out: usize, size_in: usize) -> Vec<usize> {
        packed_shape(size_out, size_in).to_vec()
    }

    fn of_node(_: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(Self::default())
    }

    fn prepare(self, _: &ComputeContext, _: &[f32], _: usize, (): &mut ()) -> ort::Result<()> {
        Ok(())
    }

    unsafe fn apply(layer: &Layer<'_, Self>, (): &(), panels: Range<usize>, y: &Disjoint<'_, f32>) {
        let mut products = PRODUCTS.take();
        products.resize(ROWS * PANELS, [0.0; PANEL]);
        let size_in = layer.size_in;
        let together = panels_at_a_time(layer.count);
        for start in (0..layer.count).step_by(ROWS) {
            let rows = ROWS.min(layer.count - start);
            for first in panels.clone().step_by(together) {
                let group = first..(first + together).min(panels.end);
                let mut biases = [[0.0; PANEL]; PANELS];
                let mut counts = [0; PANELS];
                for (index, panel) in group.clone().enumerate() {
                    (counts[index], biases[index]) = layer.biases(panel);
                }
                let product = Product {
                    x: &layer.x[start * size_in..][..rows * size_in],
                    size_in,
                    weights: layer.packed[first * PANEL * size_in..]
                        [..group.len() * PANEL * size_in]
                        .as_chunks()
                        .0,
                    biases: &biases[..group.len()],
                    activation: layer.activation,
                };
                let products = &mut products[..rows * group.len()];
                W::multiply(&product, products);
                for (row, products) in products.chunks_exact(group.len()).enumerate() {
                    let at = (start + row) * layer.size_out + first * PANEL;
                    let count = counts.iter().sum();
                    // SAFETY: within the panels' columns, as the caller promises.
                    let y = unsafe { y.part(at..at + count) };
                    y.copy_from_slice(&products.as_flattened()[..count]);
                }
            }
        }
        PRODUCTS.set(products);
    }
}

impl<W: Weight> Table for Float<W> {
    const EMBEDDING: &'static str = W::EMBEDDING;

    fn row(packed: &[W], _: &[f32], index: usize, y: &mut [f32]) {
        let panel = &packed[index / PANEL * PANEL * y.len()..];
        let weights = panel.iter().skip(index % PANEL).step_by(PANEL);
        for (y, weight) in y.iter_mut().zip(weights) {
            *y = weight.widen();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_table_come_back() {
        let size_in = 5;
        let packed: Vec<f16> = (0..2 * PANEL * size_in)
            .map(|index| f16::from_f32(index as f32))
            .collect();
        for index in [0, 3, PANEL - 1, PANEL, 2 * PANEL - 1] {
            let mut row = vec![0.0; size_in];
            Fp16::row(&packed, &[], index, &mut row);
            for (input, &value) in row.iter().enumerate() {
                let at = (index / PANEL * size_in + input) * PANEL + index % PANEL;
                assert_eq!(value, at as f32);
            }
        }
    }
}
