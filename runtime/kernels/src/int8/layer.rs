//! The linear layer and the embedding over int8 weights.
//!
//! Each row of activations is rounded to unsigned integers between its minimum and its maximum.

use std::ops::Range;

use super::Instructions;
use super::tile::{MAX_PANELS, MAX_SUMS, Sums, Tile, TileShape};
use crate::activation::Activation;
use crate::dispatch;
use crate::linear::{Layer, TableFormat, WeightFormat};
use crate::panels::{GROUP, PANEL, packed_shape, padded_inputs};
use crate::parallel::{Columns, Disjoint, ThreadPool};
use crate::quantized_activations::{Layout, QuantizedActivations, RowScale};
use crate::simd::prefetch::{L1, L2, Prefetch};

/// Bytes of the activations of a pass, which stay in the second-level cache.
const PASS_BYTES: usize = 512 << 10;

/// Format of int8 weights in the layout of [`panels`](crate::panels). Each output has two columns:
/// its scale, and the sum of its integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Int8 {
    activation_bits: u32,
    instructions: Instructions,
}

impl Int8 {
    /// Weights that are multiplied with activations of 1 to 8 bits.
    pub fn new(activation_bits: u32) -> Self {
        Self { activation_bits, instructions: Instructions::detect() }
    }
}

impl WeightFormat for Int8 {
    const COLUMNS: usize = 2;
    type Element = i8;
    type Activations = QuantizedActivations;

    fn packed_shape(size_out: usize, size_in: usize) -> Vec<usize> {
        packed_shape(size_out, size_in).to_vec()
    }

    fn prepare<P: ThreadPool>(
        self,
        pool: &P,
        x: &[f32],
        [size_in, size_out]: [usize; 2],
        activations: &mut QuantizedActivations,
    ) -> Result<(), P::Error> {
        let shape = self.instructions.tile_shape(x.len() / size_in, [size_in, size_out]);
        let layout = Layout {
            stride: padded_inputs(size_in).next_multiple_of(shape.group),
            mr: shape.mr,
            group: shape.group,
        };
        activations.fill(pool, x, size_in, layout, self.activation_bits)
    }

    unsafe fn apply(
        layer: &Layer<'_, Self>,
        activations: &QuantizedActivations,
        panels: Range<usize>,
        y: &Disjoint<'_, f32>,
    ) {
        let (scales, sums) = layer.columns.split_at(layer.columns.len() / 2);
        let layer = Int8Layer {
            layer,
            scales: scales.as_chunks().0,
            sums: sums.as_chunks().0,
            shape: layer
                .format
                .instructions
                .tile_shape(layer.rows, [layer.size_in, layer.size_out]),
        };
        // SAFETY: the caller promises that no other thread writes these columns.
        unsafe { layer.apply(activations, panels, y) };
    }
}

impl TableFormat for Int8 {
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

/// A layer with its columns and the shape of its tiles.
struct Int8Layer<'a> {
    layer: &'a Layer<'a, Int8>,
    /// The scale of each output.
    scales: &'a [[f32; PANEL]],
    /// The sum of each output's integers.
    sums: &'a [[f32; PANEL]],
    shape: TileShape,
}

impl Int8Layer<'_> {
    /// Computes the outputs of these panels for all rows.
    ///
    /// # Safety
    ///
    /// No other thread writes the panels' columns of `y`, `[rows, size_out]`.
    unsafe fn apply(
        &self,
        activations: &QuantizedActivations,
        panels: Range<usize>,
        y: &Disjoint<'_, f32>,
    ) {
        let Layer { format, packed, size_in, size_out, .. } = *self.layer;
        let stride = padded_inputs(size_in);
        let tiles_per_pass = (PASS_BYTES / (activations.stride() * self.shape.mr)).max(1);
        let mut multiplier = format.instructions.multiplier();
        let mut sums: Sums = [[0; PANEL]; MAX_SUMS];
        for start in (0..activations.tiles()).step_by(tiles_per_pass) {
            let tiles = start..(start + tiles_per_pass).min(activations.tiles());
            let mut panel = panels.start;
            while panel < panels.end {
                let count = self.shape.next_panels(panels.end - panel);
                // The columns are far from the weights in memory. Without a prefetch, the product
                // would wait for them.
                for next in panel + count..panel + 2 * count {
                    L1::fetch(self.scales.as_ptr().wrapping_add(next));
                    L1::fetch(self.sums.as_ptr().wrapping_add(next));
                }
                let panels_size = count * PANEL * stride;
                let mut columns = [PanelColumns::default(); MAX_PANELS];
                for (index, columns) in columns[..count].iter_mut().enumerate() {
                    *columns = self.columns(panel + index);
                }
                let columns = &columns[..count];
                let width = columns.iter().map(|columns| columns.count).sum();
                let next = packed.as_ptr().wrapping_add((panel + count) * PANEL * stride);
                for (index, tile) in tiles.clone().enumerate() {
                    if tiles.len() > 1 && !self.shape.one_stream {
                        // The next panels are not in a cache. Each tile prefetches a part of them,
                        // so that the arithmetic of all tiles hides the latency. The kernel of one
                        // stream prefetches them itself.
                        let part = panels_size.div_ceil(tiles.len());
                        L2::fetch_all(next.wrapping_add(index * part), part);
                    }
                    let rows = activations.rows_of_tile(tile);
                    let tile = Tile {
                        activations: &activations.bytes_from(rows.start)
                            [..rows.len() * activations.stride()],
                        rows: rows.len(),
                        group: self.shape.group,
                        stride,
                        activation_bits: format.activation_bits,
                        weights: &packed[panel * PANEL * stride..][..panels_size],
                        panels: count,
                    };
                    multiplier.multiply(&tile, &mut sums);
                    let scales = &activations.scales()[rows.clone()];
                    let first = rows.start * size_out + panel * PANEL;
                    // SAFETY: the caller promises that no other thread writes these columns.
                    let outputs = unsafe { Columns::new(y, first, width, size_out) };
                    finish(&sums, scales, columns, self.layer.activation, outputs);
                }
                panel += count;
            }
        }
    }

    fn columns(&self, panel: usize) -> PanelColumns {
        let (count, bias) = self.layer.biases(panel);
        PanelColumns { scales: self.scales[panel], sums: self.sums[panel], bias, count }
    }
}

/// Columns and bias of a panel, which turn its sums into outputs.
#[derive(Clone, Copy, Default)]
struct PanelColumns {
    scales: [f32; PANEL],
    sums: [f32; PANEL],
    bias: [f32; PANEL],
    /// Number of outputs without padding.
    count: usize,
}

#[inline(always)]
fn finish_body(
    sums: &[[i32; PANEL]],
    rows: &[RowScale],
    panels: &[PanelColumns],
    activation: Activation,
    outputs: Columns<'_, f32>,
) {
    // Several loops: a single one would copy outputs of unknown length, and would load the
    // constants of all activation functions.
    let is_whole = panels.iter().all(|columns| columns.count == PANEL);
    match (is_whole, activation) {
        (true, Activation::Identity) => {
            finish_rows::<true>(sums, rows, panels, Activation::Identity, outputs);
        }
        (true, activation) => finish_rows::<true>(sums, rows, panels, activation, outputs),
        (false, activation) => finish_rows::<false>(sums, rows, panels, activation, outputs),
    }
}

#[inline(always)]
fn finish_rows<const WHOLE: bool>(
    sums: &[[i32; PANEL]],
    rows: &[RowScale],
    panels: &[PanelColumns],
    activation: Activation,
    mut outputs: Columns<'_, f32>,
) {
    for (index, row) in rows.iter().enumerate() {
        let sums = &sums[index * panels.len()..][..panels.len()];
        let outputs = outputs.row(index).chunks_mut(PANEL);
        for ((sums, columns), output) in sums.iter().zip(panels).zip(outputs) {
            let mut finished = [0.0; PANEL];
            for column in 0..PANEL {
                let sum = row.scale * sums[column] as f32 + row.min * columns.sums[column];
                finished[column] = sum * columns.scales[column] + columns.bias[column];
            }
            activation.apply(&mut finished);
            if WHOLE {
                output.as_chunks_mut().0[0] = finished;
            } else {
                output.copy_from_slice(&finished[..output.len()]);
            }
        }
    }
}

dispatch! {
    /// Turns the integer sums of some panels into the outputs of each row. The operations are the
    /// same on every processor.
    fn finish(
        sums: &[[i32; PANEL]],
        rows: &[RowScale],
        panels: &[PanelColumns],
        activation: Activation,
        outputs: Columns<'_, f32>,
    ) = finish_body;
}
