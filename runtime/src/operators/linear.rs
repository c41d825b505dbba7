//! `Linear`: a linear layer over packed int8 weights.

use std::ops::Range;

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::activation::Activation;
use super::int8::{Instructions, NARROW_BITS, TILE, Tile};
use super::panels::{PANEL, packed_shape, panels};
use super::parallel::{Disjoint, share};
use super::rows::{QuantizedRows, RowScale, quantize};
use super::{input, optional_input};
use crate::simd::dispatch;

/// Its name in a graph.
pub const NAME: &str = "Linear";
/// Attribute, integer: outputs, padding excluded.
pub const SIZE_OUT: &str = "size_out";
/// Attribute, integer: bits that activations are rounded to, 1 to 8.
pub const ACTIVATION_BITS: &str = "activation_bits";
/// Attribute, string: name of an [`Activation`].
pub const ACTIVATION: &str = "activation";

/// Panels that one thread takes at a time.
const PANELS_A_PART: usize = 8;
/// Rows that one thread rounds at a time.
const ROWS_A_PART: usize = 16;
/// Bytes of activations that stay in the second-level cache while panels pass.
const ROW_BYTES: usize = 128 << 10;

/// The operator: float32 `x` of `[.., size_in]`, packed int8 weights, float32 `columns` of
/// `[2, padded size_out]` (each output's scale, and the sum of its integers) and, if there is one, a
/// float32 bias of `size_out` elements, to float32 `[.., size_out]`.
///
/// Each row of `x` is rounded to unsigned integers between its least and its greatest value.
#[derive(Clone, Copy, Debug)]
pub struct Linear;

impl Operator for Linear {
    type Kernel<'attr> = LinearKernel;

    fn name(&self) -> &str {
        NAME
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [
            OperatorInput::required(TensorElementType::Float32),
            OperatorInput::required(TensorElementType::Int8),
            OperatorInput::required(TensorElementType::Float32),
            OperatorInput::optional(TensorElementType::Float32),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<LinearKernel> {
        let integer = |name: &str, range: Range<i64>| {
            context
                .get::<i64>(name)
                .filter(|value| range.contains(value))
                .ok_or_else(|| ort::Error::new(format!("attribute '{name}' is missing or wrong")))
        };
        let activation = context.get::<String>(ACTIVATION).unwrap_or_default();
        Ok(LinearKernel {
            size_out: integer(SIZE_OUT, 1..i64::from(i32::MAX))? as usize,
            bits: integer(ACTIVATION_BITS, 1..9)? as u32,
            activation: Activation::named(&activation).ok_or_else(|| {
                ort::Error::new(format!("there is no activation function '{activation}'"))
            })?,
            instructions: Instructions::detect(),
            rows: QuantizedRows::default(),
        })
    }
}

/// A layer of a loaded graph.
pub struct LinearKernel {
    size_out: usize,
    bits: u32,
    activation: Activation,
    instructions: Instructions,
    /// Kept from one run to the next, to save an allocation.
    rows: QuantizedRows,
}

impl Kernel for LinearKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (mut shape, x) = input::<f32>(context, 0)?;
        let (packed_dims, packed) = input::<i8>(context, 1)?;
        let (_, columns) = input::<f32>(context, 2)?;
        let bias = optional_input::<f32>(context, 3)?.map(|(_, bias)| bias);
        let size_out = self.size_out;
        let Some(last) = shape.last_mut() else {
            return Err(ort::Error::new("x has no dimensions"));
        };
        let size_in = std::mem::replace(last, size_out);
        let padded = panels(size_out) * PANEL;
        if packed_dims != packed_shape(size_out, size_in)
            || columns.len() != 2 * padded
            || bias.is_some_and(|bias| bias.len() != size_out)
        {
            return Err(ort::Error::new(format!(
                "x of {size_in} columns, packed weights of {packed_dims:?}, {} column values and \
                 {:?} of a bias do not make {size_out} outputs",
                columns.len(),
                bias.map(<[f32]>::len),
            )));
        }
        let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
        let mut output = context
            .output(0, dims)?
            .ok_or_else(|| ort::Error::new("there is no output"))?;
        let (_, y) = output.try_extract_tensor_mut::<f32>()?;
        if y.is_empty() || size_in == 0 {
            y.fill(0.0);
            return Ok(());
        }
        self.quantize(context, x, size_in)?;
        let (scales, sums) = columns.split_at(padded);
        let layer = Layer {
            packed,
            scales,
            sums,
            bias,
            size_out,
            narrow: self.bits <= NARROW_BITS,
            activation: self.activation,
            instructions: self.instructions,
        };
        let y = Disjoint::new(y);
        let rows = &self.rows;
        let work = rows.scales().len() * size_in * size_out;
        share(context, panels(size_out), PANELS_A_PART, work, |panels| {
            // SAFETY: each panel's columns are written by the one thread that has the panel.
            unsafe { layer.apply(rows, panels, &y) };
        })
    }
}

impl LinearKernel {
    fn quantize(&mut self, context: &ComputeContext, x: &[f32], size: usize) -> ort::Result<()> {
        let rows = x.len() / size;
        self.rows.reset(rows, size);
        let bits = self.bits;
        let stride = self.rows.stride();
        let (bytes, scales) = self.rows.parts_mut();
        let (bytes, scales) = (Disjoint::new(bytes), Disjoint::new(scales));
        share(context, rows, ROWS_A_PART, 4 * x.len(), |rows| {
            for row in rows {
                // SAFETY: each row is written by the one thread that has it.
                unsafe {
                    let bytes = bytes.part(row * stride..(row + 1) * stride);
                    scales.part(row..row + 1)[0] =
                        quantize(&x[row * size..(row + 1) * size], bits, bytes);
                }
            }
        })
    }
}

/// What the threads share of a layer.
struct Layer<'a> {
    packed: &'a [i8],
    scales: &'a [f32],
    sums: &'a [f32],
    bias: Option<&'a [f32]>,
    size_out: usize,
    narrow: bool,
    activation: Activation,
    instructions: Instructions,
}

impl Layer<'_> {
    /// Computes the outputs of these panels for all rows.
    ///
    /// # Safety
    ///
    /// No other thread writes the panels' columns of `y`, which is `[rows, size_out]`.
    unsafe fn apply(&self, rows: &QuantizedRows, panels: Range<usize>, y: &Disjoint<'_, f32>) {
        let (count, stride) = (rows.scales().len(), rows.stride());
        let block = (ROW_BYTES / stride).max(1).next_multiple_of(TILE);
        for start in (0..count).step_by(block) {
            let end = (start + block).min(count);
            for panel in panels.clone() {
                let columns = self.columns(panel);
                for first in (start..end).step_by(TILE) {
                    let tile = Tile {
                        activations: rows.bytes_from(first),
                        rows: TILE.min(end - first),
                        stride,
                        narrow: self.narrow,
                        panel: &self.packed[panel * PANEL * stride..][..PANEL * stride],
                    };
                    let mut sums = [[0; PANEL]; TILE];
                    self.instructions.multiply(&tile, &mut sums);
                    let mut finished = [[0.0; PANEL]; TILE];
                    finish(
                        &sums[..tile.rows],
                        &rows.scales()[first..],
                        &columns,
                        &mut finished,
                    );
                    for (row, finished) in finished[..tile.rows].iter().enumerate() {
                        let at = (first + row) * self.size_out + panel * PANEL;
                        // SAFETY: within the panel's columns, as the caller promises.
                        let y = unsafe { y.part(at..at + columns.count) };
                        y.copy_from_slice(&finished[..columns.count]);
                    }
                }
            }
        }
    }

    fn columns(&self, panel: usize) -> Columns {
        let first = panel * PANEL;
        let count = PANEL.min(self.size_out - first);
        let of = |values: &[f32]| std::array::from_fn(|column| values[first + column]);
        let mut bias = [0.0; PANEL];
        if let Some(values) = self.bias {
            bias[..count].copy_from_slice(&values[first..first + count]);
        }
        Columns {
            scales: of(self.scales),
            sums: of(self.sums),
            bias,
            count,
            activation: self.activation,
        }
    }
}

/// What turns the sums of a panel into outputs.
struct Columns {
    scales: [f32; PANEL],
    sums: [f32; PANEL],
    bias: [f32; PANEL],
    /// Columns that are no padding.
    count: usize,
    activation: Activation,
}

#[inline(always)]
fn finish_body(
    sums: &[[i32; PANEL]],
    rows: &[RowScale],
    columns: &Columns,
    finished: &mut [[f32; PANEL]; TILE],
) {
    for ((sums, row), finished) in sums.iter().zip(rows).zip(finished) {
        for column in 0..PANEL {
            let sum = row.scale * sums[column] as f32 + row.least * columns.sums[column];
            finished[column] = sum * columns.scales[column] + columns.bias[column];
        }
        columns.activation.apply(finished);
    }
}

dispatch! {
    /// Turns sums of products of integers into outputs, with the same operations everywhere.
    fn finish(
        sums: &[[i32; PANEL]],
        rows: &[RowScale],
        columns: &Columns,
        finished: &mut [[f32; PANEL]; TILE],
    ) = finish_body;
}
