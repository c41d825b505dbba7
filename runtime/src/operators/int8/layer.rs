//! The linear layer over int8 weights.
//!
//! Each row of `x` is rounded to unsigned integers between its least and its greatest value.

use std::ops::Range;

use ort::operator::{ComputeContext, KernelContext};

use super::{Instructions, MOST_ROWS, MOST_SUMS, Shape, Sums, Tile};
use crate::operators::activation::Activation;
use crate::operators::linear::{self, ACTIVATION_BITS, Format, Table, integer};
use crate::operators::panels::{GROUP, PANEL, packed_shape, padded_inputs};
use crate::operators::parallel::Disjoint;
use crate::operators::rows::{Layout, QuantizedRows, RowScale};
use crate::simd::ahead::{Ahead, Near};
use crate::simd::dispatch;

/// Name of the linear layer in a graph.
pub const LINEAR: &str = "Linear";
/// Name of the embedding in a graph.
pub const EMBEDDING: &str = "Embedding";
/// Attribute, integer: bits of a weight, 8 at most; 7 where it is absent.
pub const WEIGHT_BITS: &str = "weight_bits";

/// Bytes of activations that stay in the second-level cache while panels pass.
const ROW_BYTES: usize = 512 << 10;

/// int8 weights in the layout of [`panels`](super::super::panels). Beside them each output has its scale,
/// and the sum of its integers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int8 {
    activation_bits: u32,
    weight_bits: u32,
    instructions: Instructions,
}

impl Default for Int8 {
    fn default() -> Self {
        Self {
            activation_bits: 8,
            weight_bits: 8,
            instructions: Instructions::detect(),
        }
    }
}

impl Format for Int8 {
    const LINEAR: &'static str = LINEAR;
    const COLUMNS: usize = 2;
    type Element = i8;
    type Rows = QuantizedRows;

    fn packed_shape(size_out: usize, size_in: usize) -> Vec<usize> {
        packed_shape(size_out, size_in).to_vec()
    }

    fn of_node(context: &KernelContext<'_>) -> ort::Result<Self> {
        let weight_bits = match context.get::<i64>(WEIGHT_BITS) {
            None => 7,
            Some(_) => integer(context, WEIGHT_BITS, 2..9)?,
        };
        Ok(Self {
            activation_bits: integer(context, ACTIVATION_BITS, 1..9)? as u32,
            weight_bits: weight_bits as u32,
            instructions: Instructions::detect(),
        })
    }

    fn prepare(
        self,
        context: &ComputeContext,
        x: &[f32],
        size_in: usize,
        rows: &mut QuantizedRows,
    ) -> ort::Result<()> {
        let shape = self.instructions.shape(x.len() / size_in);
        let layout = Layout {
            stride: padded_inputs(size_in).next_multiple_of(shape.group),
            rows: shape.rows,
            group: shape.group,
        };
        rows.fill(context, x, size_in, layout, self.activation_bits)
    }

    unsafe fn apply(
        layer: &linear::Layer<'_, Self>,
        rows: &QuantizedRows,
        panels: Range<usize>,
        y: &Disjoint<'_, f32>,
    ) {
        let (scales, sums) = layer.columns.split_at(layer.columns.len() / 2);
        let layer = Layer {
            linear: layer,
            scales: scales.as_chunks().0,
            sums: sums.as_chunks().0,
            shape: layer.format.instructions.shape(layer.count),
        };
        // SAFETY: the caller promises the same.
        unsafe { layer.apply(rows, panels, y) };
    }
}

impl Table for Int8 {
    const EMBEDDING: &'static str = EMBEDDING;

    fn row(packed: &[i8], columns: &[f32], index: usize, y: &mut [f32]) {
        let panel_size = padded_inputs(y.len()) * PANEL;
        let panel = &packed[index / PANEL * panel_size..][..panel_size];
        let groups = panel.chunks_exact(PANEL * GROUP);
        for (group, y) in groups.zip(y.chunks_mut(GROUP)) {
            let weights = &group[index % PANEL * GROUP..][..GROUP];
            for (y, &weight) in y.iter_mut().zip(weights) {
                *y = columns[index] * f32::from(weight);
            }
        }
    }
}

/// What the threads share of a layer.
struct Layer<'a> {
    linear: &'a linear::Layer<'a, Int8>,
    /// One of each column of a panel.
    scales: &'a [[f32; PANEL]],
    /// Likewise.
    sums: &'a [[f32; PANEL]],
    shape: Shape,
}

impl Layer<'_> {
    /// Computes the outputs of these panels for all rows.
    ///
    /// # Safety
    ///
    /// No other thread writes the panels' columns of `y`, which is `[rows, size_out]`.
    unsafe fn apply(&self, rows: &QuantizedRows, panels: Range<usize>, y: &Disjoint<'_, f32>) {
        let linear::Layer {
            format,
            packed,
            size_in,
            size_out,
            ..
        } = *self.linear;
        let stride = padded_inputs(size_in);
        let block = (ROW_BYTES / (rows.stride() * self.shape.rows)).max(1);
        let mut sums: Sums = [[0; PANEL]; MOST_SUMS];
        for start in (0..rows.tiles()).step_by(block) {
            let tiles = start..(start + block).min(rows.tiles());
            let mut panel = panels.start;
            while panel < panels.end {
                let count = match panels.end - panel {
                    left if left >= self.shape.panels => self.shape.panels,
                    1 => 1,
                    _ => 2,
                };
                // They lie far from the weights, and a product would wait for them.
                for next in panel + count..panel + 2 * count {
                    Near::fetch(self.scales.as_ptr().wrapping_add(next));
                    Near::fetch(self.sums.as_ptr().wrapping_add(next));
                }
                for tile in tiles.clone() {
                    let places = rows.rows_of(tile);
                    let tile = Tile {
                        activations: &rows.bytes_from(places.start)
                            [..places.len() * rows.stride()],
                        rows: places.len(),
                        group: self.shape.group,
                        stride,
                        bits: format.activation_bits + format.weight_bits,
                        weights: &packed[panel * PANEL * stride..][..count * PANEL * stride],
                        panels: count,
                    };
                    format.instructions.multiply(&tile, &mut sums);
                    let scales = &rows.scales()[places.clone()];
                    for index in 0..count {
                        let columns = self.columns(panel + index);
                        let mut outputs: [&mut [f32]; MOST_ROWS] = Default::default();
                        for (row, output) in places.clone().zip(&mut outputs) {
                            let at = row * size_out + (panel + index) * PANEL;
                            // SAFETY: within the panel's columns, as the caller promises.
                            *output = unsafe { y.part(at..at + columns.count) };
                        }
                        finish(&sums[index..], count, scales, &columns, &mut outputs);
                    }
                }
                panel += count;
            }
        }
    }

    fn columns(&self, panel: usize) -> Columns<'_> {
        let first = panel * PANEL;
        let count = PANEL.min(self.linear.size_out - first);
        let bias = self.linear.bias;
        Columns {
            scales: &self.scales[panel],
            sums: &self.sums[panel],
            bias: bias.map(|bias| &bias[first..first + count]),
            count,
            activation: self.linear.activation,
        }
    }
}

/// What turns the sums of a panel into outputs.
struct Columns<'a> {
    scales: &'a [f32; PANEL],
    sums: &'a [f32; PANEL],
    bias: Option<&'a [f32]>,
    /// Columns that are no padding.
    count: usize,
    activation: Activation,
}

#[inline(always)]
fn finish_body(
    sums: &[[i32; PANEL]],
    panels: usize,
    rows: &[RowScale],
    columns: &Columns<'_>,
    outputs: &mut [&mut [f32]],
) {
    let mut bias = [0.0; PANEL];
    if let Some(values) = columns.bias {
        match values.first_chunk() {
            Some(whole) => bias = *whole,
            None => bias[..values.len()].copy_from_slice(values),
        }
    }
    let rows = sums.iter().step_by(panels).zip(rows).zip(outputs);
    for ((sums, row), output) in rows {
        let mut finished = [0.0; PANEL];
        for column in 0..PANEL {
            let sum = row.scale * sums[column] as f32 + row.least * columns.sums[column];
            finished[column] = sum * columns.scales[column] + bias[column];
        }
        columns.activation.apply(&mut finished);
        match output.first_chunk_mut() {
            Some(output) => *output = finished,
            None => output.copy_from_slice(&finished[..output.len()]),
        }
    }
}

dispatch! {
    /// Turns sums of products of integers, those of a panel every `panels`, into the outputs of each
    /// row, with the same operations everywhere.
    fn finish(
        sums: &[[i32; PANEL]],
        panels: usize,
        rows: &[RowScale],
        columns: &Columns<'_>,
        outputs: &mut [&mut [f32]],
    ) = finish_body;
}
