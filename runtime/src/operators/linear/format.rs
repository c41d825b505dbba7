//! What a format of packed weights is to the operators.

use std::fmt::Debug;
use std::ops::Range;

use ort::operator::{ComputeContext, KernelContext};
use ort::value::PrimitiveTensorElementType;

use super::super::activation::Activation;
use super::super::panels::PANEL;
use super::super::parallel::Disjoint;

/// A way to pack the weights of a matrix of `[size_out, size_in]` in panels of outputs, and to multiply
/// with them. Its value is what a layer's node says of it.
pub(crate) trait Format: Copy + Debug + Default + Send + Sync + 'static {
    /// Name of its linear layer in a graph.
    const LINEAR: &'static str;
    /// float32 values that each output has beside its weights, in the input `columns`.
    const COLUMNS: usize;
    /// An element of the packed tensor.
    type Element: PrimitiveTensorElementType + Copy + Debug + Sync + 'static;
    /// The rows of an input as the product takes them.
    type Rows: Default + Send + Sync + 'static;

    /// Shape of the packed tensor.
    fn packed_shape(size_out: usize, size_in: usize) -> Vec<usize>;

    /// Reads the attributes of a node.
    fn of_node(context: &KernelContext<'_>) -> ort::Result<Self>;

    /// Makes `rows` of `x`, `[_, size_in]`; neither is empty.
    fn prepare(
        self,
        context: &ComputeContext,
        x: &[f32],
        size_in: usize,
        rows: &mut Self::Rows,
    ) -> ort::Result<()>;

    /// Computes the outputs of these panels for all rows.
    ///
    /// # Safety
    ///
    /// No other thread writes the panels' columns of `y`, which is `[rows, size_out]`.
    unsafe fn apply(
        layer: &Layer<'_, Self>,
        rows: &Self::Rows,
        panels: Range<usize>,
        y: &Disjoint<'_, f32>,
    );
}

/// A format that rows of a table are read from, too.
pub(crate) trait Table: Format {
    /// Name of its embedding in a graph.
    const EMBEDDING: &'static str;

    /// Writes row `index` of a table to `y`, which is as long as the row.
    fn row(packed: &[Self::Element], columns: &[f32], index: usize, y: &mut [f32]);
}

/// What the threads share of a layer.
pub(crate) struct Layer<'a, F: Format> {
    /// What the node says of the format.
    pub(crate) format: F,
    /// `[count, size_in]`
    pub(crate) x: &'a [f32],
    /// Rows.
    pub(crate) count: usize,
    /// The weights.
    pub(crate) packed: &'a [F::Element],
    /// `[COLUMNS, padded size_out]`
    pub(crate) columns: &'a [f32],
    /// `[size_out]`
    pub(crate) bias: Option<&'a [f32]>,
    /// Inputs, padding excluded.
    pub(crate) size_in: usize,
    /// Outputs, padding excluded.
    pub(crate) size_out: usize,
    /// Applied to every output.
    pub(crate) activation: Activation,
}

impl<F: Format> Layer<'_, F> {
    /// Outputs of a panel that are no padding, and the bias of all.
    pub(crate) fn biases(&self, panel: usize) -> (usize, [f32; PANEL]) {
        let first = panel * PANEL;
        let count = PANEL.min(self.size_out - first);
        let mut bias = [0.0; PANEL];
        if let Some(values) = self.bias {
            bias[..count].copy_from_slice(&values[first..first + count]);
        }
        (count, bias)
    }
}
