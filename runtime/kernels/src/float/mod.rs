//! Weights in float32 and in float16, which halves the bytes that a step reads and loses next to
//! nothing.
//!
//! A panel holds, for each input in turn, the weights of its outputs side by side. float16 is
//! widened in registers, and everything is computed in float32, each row in the same order whatever
//! rows are beside it.

mod kernel;

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use half::f16;

pub use self::kernel::Weight;
use self::kernel::{Product, panels_per_tile};
use crate::linear::{Layer, TableFormat, WeightFormat};
use crate::panels::{PANEL, panels};
use crate::parallel::{Disjoint, ThreadPool};

/// Rows that are multiplied with some panels before the next panels: whole tiles of eight rows.
const MC: usize = 64;
/// Panels that a tile has at most.
const MAX_PANELS: usize = 4;

/// Shape of the packed tensor of an `[size_out, size_in]` matrix.
pub const fn packed_shape(size_out: usize, size_in: usize) -> [usize; 3] {
    [panels(size_out), size_in, PANEL]
}

thread_local! {
    /// Scratch memory for the products of [`MC`] rows and [`MAX_PANELS`] panels. Each thread keeps
    /// it: to clear it for every layer was a quarter of the instructions of a small model's step.
    static PRODUCTS: Cell<Vec<[f32; PANEL]>> = const { Cell::new(Vec::new()) };
}

/// Weights of the shape [`packed_shape`], and no columns beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Float<W>(PhantomData<W>);

/// Weights in float32.
pub type Fp32 = Float<f32>;
/// Weights in float16.
pub type Fp16 = Float<f16>;

impl<W: Weight> WeightFormat for Float<W> {
    const COLUMNS: usize = 0;
    type Element = W;
    type Activations = ();

    fn packed_shape(size_out: usize, size_in: usize) -> Vec<usize> {
        packed_shape(size_out, size_in).to_vec()
    }

    fn prepare<P: ThreadPool>(
        self,
        _: &P,
        _: &[f32],
        _: usize,
        (): &mut (),
    ) -> Result<(), P::Error> {
        Ok(())
    }

    unsafe fn apply(layer: &Layer<'_, Self>, (): &(), panels: Range<usize>, y: &Disjoint<'_, f32>) {
        let mut products = PRODUCTS.take();
        products.resize(MC * MAX_PANELS, [0.0; PANEL]);
        let size_in = layer.size_in;
        let step = panels_per_tile(layer.rows);
        for start in (0..layer.rows).step_by(MC) {
            let rows = MC.min(layer.rows - start);
            for first in panels.clone().step_by(step) {
                let group = first..(first + step).min(panels.end);
                let mut biases = [[0.0; PANEL]; MAX_PANELS];
                let mut counts = [0; MAX_PANELS];
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

impl<W: Weight> TableFormat for Float<W> {
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
        let packed: Vec<f16> =
            (0..2 * PANEL * size_in).map(|index| f16::from_f32(index as f32)).collect();
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
