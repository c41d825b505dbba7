//! The linear layer over int4 weights.

use std::ops::Range;

use super::layout::{BLOCK, BLOCK_BYTES, blocks, packed_shape};
use super::tile::{MAX_PANELS, MAX_ROWS, Products, Tile};
use super::{multiply, panels_per_tile};
use crate::activation::Activation;
use crate::dispatch;
use crate::int8::Instructions;
use crate::linear::{Layer, WeightFormat};
use crate::panels::{GROUP, PANEL};
use crate::parallel::{Columns, Disjoint, ThreadPool};
use crate::quantized_activations::{Layout, QuantizedActivations, RowScale};
use crate::simd::prefetch::{L1, Prefetch};

/// Bytes of the activations of a pass, which stay in the second-level cache.
const PASS_BYTES: usize = 128 << 10;

/// Format of int4 weights, a uint8 tensor of the shape [`packed_shape`]. Each output has one
/// column: the sum of its weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Int4 {
    activation_bits: u32,
    instructions: Instructions,
}

impl Int4 {
    /// Weights that are multiplied with activations of 1 to 8 bits.
    pub fn new(activation_bits: u32) -> Self {
        Self { activation_bits, instructions: Instructions::detect() }
    }
}

/// Rounded activations and the sum of each of their blocks.
#[derive(Debug, Default)]
pub struct BlockActivations {
    rounded: QuantizedActivations,
    /// Sums: `[rows, blocks]`.
    sums: Vec<f32>,
}

impl WeightFormat for Int4 {
    const COLUMNS: usize = 1;
    type Element = u8;
    type Activations = BlockActivations;

    fn packed_shape(size_out: usize, size_in: usize) -> Vec<usize> {
        packed_shape(size_out, size_in).to_vec()
    }

    fn prepare<P: ThreadPool>(
        self,
        pool: &P,
        x: &[f32],
        [size_in, _]: [usize; 2],
        activations: &mut BlockActivations,
    ) -> Result<(), P::Error> {
        let layout = Layout { stride: blocks(size_in) * BLOCK, mr: 1, group: GROUP };
        let BlockActivations { rounded, sums } = activations;
        rounded.fill(pool, x, size_in, layout, self.activation_bits)?;
        let inputs = rounded.bytes_from(0).as_chunks::<BLOCK>().0;
        sums.resize(inputs.len(), 0.0);
        sum_blocks(inputs, sums);
        Ok(())
    }

    unsafe fn apply(
        layer: &Layer<'_, Self>,
        activations: &BlockActivations,
        panels: Range<usize>,
        y: &Disjoint<'_, f32>,
    ) {
        let BlockActivations { rounded, sums } = activations;
        let blocks = blocks(layer.size_in);
        let scales = rounded.scales();
        let packed = layer.packed.as_chunks::<BLOCK_BYTES>().0;
        let rows_per_pass = (PASS_BYTES / (blocks * BLOCK)).max(1).next_multiple_of(MAX_ROWS);
        let instructions = layer.format.instructions;
        let nr = panels_per_tile(instructions, layer.rows);
        let sums_of_panels = layer.columns.as_chunks::<PANEL>().0;
        let mut products: Products = Default::default();
        for start in (0..layer.rows).step_by(rows_per_pass) {
            let end = (start + rows_per_pass).min(layer.rows);
            let mut panel = panels.start;
            while panel < panels.end {
                // If fewer panels than those of a tile are left, tiles have one panel.
                let left = panels.end - panel;
                let count = if left < nr { 1 } else { nr };
                // The columns are far from the weights in memory. Without a prefetch, the product
                // would wait for them.
                for next in panel + count..panel + 2 * count {
                    L1::fetch(sums_of_panels.as_ptr().wrapping_add(next));
                }
                let mut columns = [PanelColumns::default(); MAX_PANELS];
                for (index, columns) in columns[..count].iter_mut().enumerate() {
                    let (count, bias) = layer.biases(panel + index);
                    *columns = PanelColumns { sums: sums_of_panels[panel + index], bias, count };
                }
                let columns = &columns[..count];
                let width = columns.iter().map(|columns| columns.count).sum();
                for first in (start..end).step_by(MAX_ROWS) {
                    let rows = MAX_ROWS.min(end - first);
                    let tile = Tile {
                        activations: &rounded.bytes_from(first)[..rows * blocks * BLOCK],
                        sums: &sums[first * blocks..][..rows * blocks],
                        rows,
                        weights: &packed[panel * blocks..][..count * blocks],
                        panels: count,
                    };
                    multiply(instructions, &tile, &mut products);
                    let scales = &scales[first..first + rows];
                    let at = first * layer.size_out + panel * PANEL;
                    // SAFETY: the caller promises that no other thread writes these columns.
                    let outputs = unsafe { Columns::new(y, at, width, layer.size_out) };
                    finish(&products, scales, columns, layer.activation, outputs);
                }
                panel += count;
            }
        }
    }
}

/// Columns and bias of a panel, which turn its products into outputs.
#[derive(Clone, Copy, Default)]
struct PanelColumns {
    sums: [f32; PANEL],
    bias: [f32; PANEL],
    /// Number of outputs without padding.
    count: usize,
}

#[inline(always)]
fn sum_blocks_body(inputs: &[[u8; BLOCK]], sums: &mut [f32]) {
    for (inputs, sum) in inputs.iter().zip(sums) {
        *sum = inputs.iter().map(|&input| u32::from(input)).sum::<u32>() as f32;
    }
}

dispatch! {
    /// Sums the activations of each block.
    fn sum_blocks(inputs: &[[u8; BLOCK]], sums: &mut [f32]) = sum_blocks_body;
}

#[inline(always)]
fn finish_body(
    products: &[[f32; PANEL]],
    rows: &[RowScale],
    panels: &[PanelColumns],
    activation: Activation,
    outputs: Columns<'_, f32>,
) {
    // Two calls: in a single one, outputs without an activation function would wait for the
    // constants of all functions.
    match activation {
        Activation::Identity => {
            finish_rows(products, rows, panels, Activation::Identity, outputs);
        }
        activation => finish_rows(products, rows, panels, activation, outputs),
    }
}

#[inline(always)]
fn finish_rows(
    products: &[[f32; PANEL]],
    rows: &[RowScale],
    panels: &[PanelColumns],
    activation: Activation,
    mut outputs: Columns<'_, f32>,
) {
    for (index, (row, products)) in rows.iter().zip(products.chunks(panels.len())).enumerate() {
        let (whole, part) = outputs.row(index).as_chunks_mut();
        for ((products, columns), output) in products.iter().zip(panels).zip(whole) {
            *output = finish_panel(products, row, columns, activation);
        }
        if let ([.., products], [.., columns], 1..) = (products, panels, part.len()) {
            let outputs = finish_panel(products, row, columns, activation);
            part.copy_from_slice(&outputs[..part.len()]);
        }
    }
}

/// Outputs of a row and a panel.
#[inline(always)]
fn finish_panel(
    products: &[f32; PANEL],
    row: &RowScale,
    columns: &PanelColumns,
    activation: Activation,
) -> [f32; PANEL] {
    let mut outputs = [0.0; PANEL];
    for (index, output) in outputs.iter_mut().enumerate() {
        let product = row.scale * products[index];
        *output = product + row.min * columns.sums[index] + columns.bias[index];
    }
    activation.apply(&mut outputs);
    outputs
}

dispatch! {
    /// Applies the scale and minimum of each row, the bias and the activation function, and writes
    /// the outputs.
    fn finish(
        products: &[[f32; PANEL]],
        rows: &[RowScale],
        panels: &[PanelColumns],
        activation: Activation,
        outputs: Columns<'_, f32>,
    ) = finish_body;
}
