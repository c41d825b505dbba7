//! The linear layer over int8 weights.
//!
//! Each row of `x` is rounded to unsigned integers between its least and its greatest value.

use std::ops::Range;

use ort::operator::{ComputeContext, KernelContext};

use super::{Instructions, MOST_SUMS, Shape, Sums, Tile};
use crate::operators::activation::Activation;
use crate::operators::linear::{self, ACTIVATION_BITS, Format, Table, integer};
use crate::operators::panels::{GROUP, PANEL, packed_shape, padded_inputs};
use crate::operators::parallel::{Columns, Disjoint};
use crate::operators::rows::{LINE, Layout, QuantizedRows, RowScale};
use crate::simd::ahead::{Ahead, Far, Near};
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
        let mut multiplier = format.instructions.multiplier();
        let mut sums: Sums = [[0; PANEL]; MOST_SUMS];
        for start in (0..rows.tiles()).step_by(block) {
            let tiles = start..(start + block).min(rows.tiles());
            let mut panel = panels.start;
            while panel < panels.end {
                let count = self.shape.take(panels.end - panel);
                // They lie far from the weights, and a product would wait for them.
                for next in panel + count..panel + 2 * count {
                    Near::fetch(self.scales.as_ptr().wrapping_add(next));
                    Near::fetch(self.sums.as_ptr().wrapping_add(next));
                }
                let group_size = count * PANEL * stride;
                let next = packed
                    .as_ptr()
                    .wrapping_add((panel + count) * PANEL * stride);
                for (index, tile) in tiles.clone().enumerate() {
                    if tiles.len() > 1 {
                        // A panel that is read for the first time comes from memory, which rows that pass it later hide: a
                        // part of the panels that come next with each tile.
                        let part = group_size.div_ceil(tiles.len());
                        for at in (index * part..(index + 1) * part).step_by(LINE) {
                            Far::fetch(next.wrapping_add(at));
                        }
                    }
                    let places = rows.rows_of(tile);
                    let tile = Tile {
                        activations: &rows.bytes_from(places.start)[..places.len() * rows.stride()],
                        rows: places.len(),
                        group: self.shape.group,
                        stride,
                        bits: format.activation_bits + format.weight_bits,
                        weights: &packed[panel * PANEL * stride..][..group_size],
                        panels: count,
                    };
                    multiplier.multiply(&tile, &mut sums);
                    let scales = &rows.scales()[places.clone()];
                    for index in 0..count {
                        let columns = self.columns(panel + index);
                        let first = places.start * size_out + (panel + index) * PANEL;
                        // SAFETY: the panel's columns, as the caller promises.
                        let outputs = unsafe { Columns::new(y, first, columns.count, size_out) };
                        finish(&sums[index..], count, scales, &columns, outputs);
                    }
                }
                panel += count;
            }
        }
    }

    fn columns(&self, panel: usize) -> OfPanel<'_> {
        let (count, bias) = self.linear.biases(panel);
        OfPanel {
            scales: &self.scales[panel],
            sums: &self.sums[panel],
            bias,
            count,
            activation: self.linear.activation,
        }
    }
}

/// What turns the sums of a panel into outputs.
struct OfPanel<'a> {
    scales: &'a [f32; PANEL],
    sums: &'a [f32; PANEL],
    bias: [f32; PANEL],
    /// Columns that are no padding.
    count: usize,
    activation: Activation,
}

#[inline(always)]
fn finish_body(
    sums: &[[i32; PANEL]],
    panels: usize,
    rows: &[RowScale],
    columns: &OfPanel<'_>,
    outputs: Columns<'_, f32>,
) {
    // Loops of their own: one with both ways to write would copy a number of bytes that is not known.
    if columns.count == PANEL {
        finish_rows::<true>(sums, panels, rows, columns, outputs);
    } else {
        finish_rows::<false>(sums, panels, rows, columns, outputs);
    }
}

#[inline(always)]
fn finish_rows<const WHOLE: bool>(
    sums: &[[i32; PANEL]],
    panels: usize,
    rows: &[RowScale],
    columns: &OfPanel<'_>,
    mut outputs: Columns<'_, f32>,
) {
    for (index, row) in rows.iter().enumerate() {
        let sums = &sums[index * panels];
        let mut finished = [0.0; PANEL];
        for column in 0..PANEL {
            let sum = row.scale * sums[column] as f32 + row.least * columns.sums[column];
            finished[column] = sum * columns.scales[column] + columns.bias[column];
        }
        columns.activation.apply(&mut finished);
        let output = outputs.row(index);
        if WHOLE {
            output.as_chunks_mut().0[0] = finished;
        } else {
            output.copy_from_slice(&finished[..output.len()]);
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
        columns: &OfPanel<'_>,
        outputs: Columns<'_, f32>,
    ) = finish_body;
}
