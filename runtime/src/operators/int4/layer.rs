//! The linear layer over int4 weights.

use std::ops::Range;

use ort::operator::{ComputeContext, KernelContext};

use super::{
    BLOCK, BLOCK_BYTES, MOST_PANELS, MOST_ROWS, Products, Tile, blocks, multiply, packed_shape,
    panels_at_once,
};
use crate::operators::activation::Activation;
use crate::operators::int8::Instructions;
use crate::operators::linear::{ACTIVATION_BITS, Format, Layer, integer};
use crate::operators::panels::{GROUP, PANEL};
use crate::operators::parallel::Disjoint;
use crate::operators::rows::{Layout, QuantizedRows, RowScale};
use crate::simd::dispatch;

/// Name of the linear layer in a graph.
pub const LINEAR: &str = "LinearInt4";

/// Bytes of activations that stay in the second-level cache while panels pass.
const ROW_BYTES: usize = 128 << 10;

/// uint8 weights of the shape [`packed_shape`]. Beside them each output has the sum of its weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int4 {
    activation_bits: u32,
    instructions: Instructions,
}

impl Default for Int4 {
    fn default() -> Self {
        Self {
            activation_bits: 8,
            instructions: Instructions::detect(),
        }
    }
}

/// Rounded rows, and the sum of each of their blocks.
#[derive(Default)]
pub(crate) struct Rows {
    rounded: QuantizedRows,
    /// `[rows, blocks]`
    sums: Vec<f32>,
}

impl Format for Int4 {
    const LINEAR: &'static str = LINEAR;
    const COLUMNS: usize = 1;
    type Element = u8;
    type Rows = Rows;

    fn packed_shape(size_out: usize, size_in: usize) -> Vec<usize> {
        packed_shape(size_out, size_in).to_vec()
    }

    fn of_node(context: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(Self {
            activation_bits: integer(context, ACTIVATION_BITS, 1..9)? as u32,
            ..Self::default()
        })
    }

    fn prepare(
        self,
        context: &ComputeContext,
        x: &[f32],
        size_in: usize,
        rows: &mut Rows,
    ) -> ort::Result<()> {
        let layout = Layout {
            stride: blocks(size_in) * BLOCK,
            rows: 1,
            group: GROUP,
        };
        rows.rounded
            .fill(context, x, size_in, layout, self.activation_bits)?;
        let inputs = rows.rounded.bytes_from(0).as_chunks::<BLOCK>().0;
        rows.sums.resize(inputs.len(), 0.0);
        sum_blocks(inputs, &mut rows.sums);
        Ok(())
    }

    unsafe fn apply(
        layer: &Layer<'_, Self>,
        rows: &Rows,
        panels: Range<usize>,
        y: &Disjoint<'_, f32>,
    ) {
        let blocks = blocks(layer.size_in);
        let scales = rows.rounded.scales();
        let packed = layer.packed.as_chunks::<BLOCK_BYTES>().0;
        let many = (ROW_BYTES / (blocks * BLOCK))
            .max(1)
            .next_multiple_of(MOST_ROWS);
        let instructions = layer.format.instructions;
        let at_once = panels_at_once(instructions, layer.count);
        let mut products: Products = Default::default();
        for start in (0..layer.count).step_by(many) {
            let end = (start + many).min(layer.count);
            let mut panel = panels.start;
            while panel < panels.end {
                // Where less are left than are taken at once, they are taken one by one.
                let left = panels.end - panel;
                let taken = if left < at_once { 1 } else { at_once };
                let columns: [_; MOST_PANELS] =
                    std::array::from_fn(|index| OfPanel::of(layer, panel + index.min(taken - 1)));
                for first in (start..end).step_by(MOST_ROWS) {
                    let tile_rows = MOST_ROWS.min(end - first);
                    let tile = Tile {
                        activations: &rows.rounded.bytes_from(first)[..tile_rows * blocks * BLOCK],
                        sums: &rows.sums[first * blocks..][..tile_rows * blocks],
                        rows: tile_rows,
                        weights: &packed[panel * blocks..][..taken * blocks],
                        panels: taken,
                    };
                    multiply(instructions, &tile, &mut products);
                    let products = &mut products[..tile_rows * taken];
                    finish(&scales[first..], &columns[..taken], products);
                    for (at, product) in products.iter().enumerate() {
                        let (row, index) = (first + at / taken, at % taken);
                        let at = row * layer.size_out + (panel + index) * PANEL;
                        let count = columns[index].count;
                        // SAFETY: within the panel's columns, as the caller promises.
                        let y = unsafe { y.part(at..at + count) };
                        y.copy_from_slice(&product[..count]);
                    }
                }
                panel += taken;
            }
        }
    }
}

/// What turns the products of a panel into outputs.
struct OfPanel {
    sums: [f32; PANEL],
    bias: [f32; PANEL],
    activation: Activation,
    /// Columns that are no padding.
    count: usize,
}

impl OfPanel {
    fn of(layer: &Layer<'_, Int4>, panel: usize) -> Self {
        let (count, bias) = layer.biases(panel);
        Self {
            sums: std::array::from_fn(|output| layer.columns[panel * PANEL + output]),
            bias,
            activation: layer.activation,
            count,
        }
    }
}

#[inline(always)]
fn sum_blocks_body(inputs: &[[u8; BLOCK]], sums: &mut [f32]) {
    for (inputs, sum) in inputs.iter().zip(sums) {
        *sum = inputs.iter().map(|&input| u32::from(input)).sum::<u32>() as f32;
    }
}

dispatch! {
    /// The sum of each block.
    fn sum_blocks(inputs: &[[u8; BLOCK]], sums: &mut [f32]) = sum_blocks_body;
}

#[inline(always)]
fn finish_body(rows: &[RowScale], columns: &[OfPanel], products: &mut [[f32; PANEL]]) {
    for (products, row) in products.chunks_mut(columns.len()).zip(rows) {
        for (products, columns) in products.iter_mut().zip(columns) {
            for (output, product) in products.iter_mut().enumerate() {
                *product =
                    row.scale * *product + row.least * columns.sums[output] + columns.bias[output];
            }
            columns.activation.apply(products);
        }
    }
}

dispatch! {
    /// Adds what a row's least value and the bias make, and applies the activation function.
    fn finish(rows: &[RowScale], columns: &[OfPanel], products: &mut [[f32; PANEL]]) = finish_body;
}
