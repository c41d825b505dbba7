//! Weights in float32 or float16. float16 halves the bytes that a step reads, with hardly any loss
//! of quality.
//!
//! A panel holds, for each input in turn, the weights of its outputs side by side. float16 is
//! widened in registers, and all arithmetic is float32. The order of the additions of a row does
//! not depend on other rows.

mod kernel;

use std::marker::PhantomData;
use std::ops::Range;

use half::f16;

pub use self::kernel::Weight;
use self::kernel::{HIGH_ROWS, MAX_PANELS, MAX_SUMS, Product, panels_per_tile};
use crate::linear::{Layer, TableFormat, WeightFormat};
use crate::panels::{PANEL, panels};
use crate::parallel::{Columns, Disjoint, ThreadPool};

/// Rows of a pass, at most, before they are rounded up to whole tiles. Each pass reads the weights
/// from memory again.
const MC: usize = 512;

/// Shape of the packed tensor of a `[size_out, size_in]` matrix.
pub const fn packed_shape(size_out: usize, size_in: usize) -> [usize; 3] {
    [panels(size_out), size_in, PANEL]
}

/// Format of float weights of the shape [`packed_shape`], without columns.
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
        _: [usize; 2],
        (): &mut (),
    ) -> Result<(), P::Error> {
        Ok(())
    }

    unsafe fn apply(layer: &Layer<'_, Self>, (): &(), panels: Range<usize>, y: &Disjoint<'_, f32>) {
        let size_in = layer.size_in;
        // One array for all panels: to clear it for each panel takes a fortieth of the instructions
        // of a small model's step.
        let mut sums = [[0.0; PANEL]; MAX_SUMS];
        for pass in passes(layer.rows) {
            let (start, rows) = (pass.start, pass.len());
            let step = panels_per_tile(rows, [size_in, layer.size_out]);
            for first in panels.clone().step_by(step) {
                let group = first..(first + step).min(panels.end);
                let mut biases = [[0.0; PANEL]; MAX_PANELS];
                let mut width = 0;
                for (bias, panel) in biases.iter_mut().zip(group.clone()) {
                    let count;
                    (count, *bias) = layer.biases(panel);
                    width += count;
                }
                let product = Product {
                    x: &layer.x[start * size_in..][..rows * size_in],
                    sizes: [size_in, layer.size_out],
                    weights: layer.packed[first * PANEL * size_in..]
                        [..group.len() * PANEL * size_in]
                        .as_chunks()
                        .0,
                    biases: &biases[..group.len()],
                    activation: layer.activation,
                };
                let at = start * layer.size_out + first * PANEL;
                // SAFETY: the caller promises that no other thread writes these columns.
                let outputs = unsafe { Columns::new(y, at, width, layer.size_out) };
                W::multiply(&product, &mut sums, outputs);
            }
        }
    }
}

/// Cuts rows into passes of about the same number of rows, which are whole tiles.
fn passes(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let pass = rows.div_ceil(rows.div_ceil(MC).max(1)).max(1).next_multiple_of(HIGH_ROWS);
    (0..rows).step_by(pass).map(move |start| start..(start + pass).min(rows))
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
    fn passes_are_whole_tiles_that_cover_all_rows() {
        for rows in [0, 1, 12, 512, 513, 1030, 21_676, 131_072] {
            let passes: Vec<_> = passes(rows).collect();
            assert_eq!(passes.iter().cloned().flatten().count(), rows);
            assert!(passes.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(passes.iter().all(|pass| pass.start % HIGH_ROWS == 0 && pass.len() < 2 * MC));
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
