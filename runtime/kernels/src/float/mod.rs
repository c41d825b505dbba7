//! Weights in float32 and in float16, which halves the bytes that a step reads and loses next to
//! nothing.
//!
//! A panel holds, for each input in turn, the weights of its outputs side by side. float16 is
//! widened in registers, and everything is computed in float32, each row in the same order whatever
//! rows are beside it.

mod kernel;
mod rows;

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use half::f16;

pub use self::kernel::Weight;
use self::kernel::{Product, panels_per_tile};
use self::rows::Cut;
pub use self::rows::Rows;
use crate::activation::Activation;
use crate::dispatch;
use crate::linear::{Layer, TableFormat, WeightFormat};
use crate::panels::{PANEL, panels};
use crate::parallel::{Disjoint, ThreadPool};

/// Panels that a tile has at most.
const MAX_PANELS: usize = 4;

/// Shape of the packed tensor of an `[size_out, size_in]` matrix.
pub const fn packed_shape(size_out: usize, size_in: usize) -> [usize; 3] {
    [panels(size_out), size_in, PANEL]
}

thread_local! {
    /// Scratch memory for the products of a pass. Each thread keeps it: to clear it for every layer
    /// was a quarter of the instructions of a small model's step.
    static PRODUCTS: Cell<Vec<[f32; PANEL]>> = const { Cell::new(Vec::new()) };
}

/// Weights of the shape [`packed_shape`], and no columns beside them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Float<W>(PhantomData<W>);

/// Weights in float32.
pub type Fp32 = Float<f32>;
/// Weights in float16.
pub type Fp16 = Float<f16>;

impl<W: Weight> WeightFormat for Float<W> {
    const COLUMNS: usize = 0;
    type Element = W;
    type Activations = Rows;

    fn packed_shape(size_out: usize, size_in: usize) -> Vec<usize> {
        packed_shape(size_out, size_in).to_vec()
    }

    fn prepare<P: ThreadPool>(
        self,
        pool: &P,
        x: &[f32],
        size_in: usize,
        rows: &mut Rows,
    ) -> Result<(), P::Error> {
        rows.fill(pool, x, size_in)
    }

    unsafe fn apply(
        layer: &Layer<'_, Self>,
        rows: &Rows,
        panels: Range<usize>,
        y: &Disjoint<'_, f32>,
    ) {
        let size_in = layer.size_in;
        let cut = Cut::new(layer.rows, size_in);
        let step = panels_per_tile(layer.rows);
        let groups = || {
            let end = panels.end;
            panels.clone().step_by(step).map(move |first| first..(first + step).min(end))
        };
        let mut products = PRODUCTS.take();
        for pass in cut.passes() {
            let size = pass.len() * panels.len();
            if products.len() < size {
                products.resize(size, [0.0; PANEL]);
            }
            let place = |group: &Range<usize>| {
                let first = pass.len() * (group.start - panels.start);
                first..first + pass.len() * group.len()
            };
            for inputs in cut.blocks() {
                let x = match cut.is_low() {
                    true => &layer.x[..layer.rows * size_in],
                    false => rows.block(cut, &pass, &inputs),
                };
                for group in groups() {
                    let weights = group.start * PANEL * size_in..group.end * PANEL * size_in;
                    let product = Product {
                        x,
                        rows: pass.len(),
                        tile: cut.tile,
                        inputs: inputs.clone(),
                        size_in,
                        weights: layer.packed[weights].as_chunks().0,
                        panels: group.len(),
                    };
                    W::multiply(&product, &mut products[place(&group)]);
                }
            }
            for group in groups() {
                let mut biases = [[0.0; PANEL]; MAX_PANELS];
                let mut count = 0;
                for (bias, panel) in biases.iter_mut().zip(group.clone()) {
                    let (of_panel, values) = layer.biases(panel);
                    (count, *bias) = (count + of_panel, values);
                }
                let products = products[place(&group)].chunks_exact_mut(group.len());
                for (row, products) in products.enumerate() {
                    finish(products, &biases, layer.activation);
                    let at = (pass.start + row) * layer.size_out + group.start * PANEL;
                    // SAFETY: within the panels' columns, as the caller promises.
                    let y = unsafe { y.part(at..at + count) };
                    y.copy_from_slice(&products.as_flattened()[..count]);
                }
            }
        }
        PRODUCTS.set(products);
    }
}

#[inline(always)]
fn finish_body(products: &mut [[f32; PANEL]], biases: &[[f32; PANEL]], activation: Activation) {
    for (products, bias) in products.iter_mut().zip(biases) {
        let mut finished = *products;
        for (value, bias) in finished.iter_mut().zip(bias) {
            *value += bias;
        }
        activation.apply(&mut finished);
        *products = finished;
    }
}

dispatch! {
    /// Turns the products of a row into its outputs.
    fn finish(
        products: &mut [[f32; PANEL]],
        biases: &[[f32; PANEL]],
        activation: Activation,
    ) = finish_body;
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
    use crate::parallel::SingleThread;

    /// `relu(x · weightsᵀ + bias)` of the layer alone.
    fn multiply<W: Weight>(x: &[f32], packed: &[W], bias: &[f32], size_in: usize) -> Vec<f32> {
        let (rows, size_out) = (x.len() / size_in, bias.len());
        let layer = Layer {
            format: Float::default(),
            x,
            rows,
            packed,
            columns: &[],
            bias: Some(bias),
            size_in,
            size_out,
            activation: Activation::Relu,
        };
        let mut y = vec![f32::NAN; rows * size_out];
        let Ok(()) = layer.multiply(&SingleThread, &mut Rows::default(), &mut y);
        y
    }

    #[test]
    fn products_are_right_and_each_rows_own() {
        let number = |index: usize| ((index * 7919 % 1009) as f32 - 504.0) / 256.0;
        let few = (1..=9).map(|rows| (rows, 70, 61));
        let sizes =
            [(2, 2, 1), (5, 3, 64), (13, 64, 200), (19, 193, 90), (65, 7, 20), (1100, 150, 33)];
        for (rows, size_in, size_out) in few.chain(sizes) {
            let x: Vec<f32> = (0..rows * size_in).map(number).collect();
            let halves: Vec<f16> = (0..packed_shape(size_out, size_in).iter().product())
                .map(|index: usize| f16::from_f32(number(index * 31 + 5)))
                .collect();
            let singles: Vec<f32> = halves.iter().map(|half| half.to_f32()).collect();
            let bias: Vec<f32> = (0..size_out).map(|output| output as f32 - 3.5).collect();
            let y = multiply(&x, &halves, &bias, size_in);
            assert_eq!(multiply(&x, &singles, &bias, size_in), y, "halves are exact in float32");
            for row in (0..rows).step_by(rows / 40 + 1) {
                let (x, y) = (&x[row * size_in..][..size_in], &y[row * size_out..][..size_out]);
                assert_eq!(multiply(x, &halves, &bias, size_in), y, "row {row} alone");
                for (output, &value) in y.iter().enumerate() {
                    let weights = output / PANEL * PANEL * size_in + output % PANEL;
                    let weights = halves[weights..].iter().step_by(PANEL);
                    let terms = x.iter().zip(weights).map(|(&x, w)| f64::from(x) * w.to_f64());
                    let exact = (terms.sum::<f64>() + f64::from(bias[output])).max(0.0);
                    let error = (f64::from(value) - exact).abs();
                    assert!(error < 1e-5 * size_in as f64, "{value} and not {exact}");
                }
            }
        }
    }

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
