//! A linear layer and an embedding over packed weights of any format.

use std::fmt::Debug;
use std::ops::Range;

use crate::activation::Activation;
use crate::panels::{PANEL, panels};
use crate::parallel::{Disjoint, ThreadPool, share};

/// A way to pack the weights of a matrix of `[size_out, size_in]` in panels of outputs, and to
/// multiply with them. Its value holds what varies among layers of the format.
pub trait WeightFormat: Copy + Debug + Send + Sync + 'static {
    /// float32 values that each output has beside its weights, in [`Layer::columns`].
    const COLUMNS: usize;
    /// An element of the packed tensor.
    type Element: Copy + Debug + Sync + 'static;
    /// The activations as the product reads them.
    type Activations: Default + Send + Sync + 'static;

    /// Shape of the packed tensor.
    fn packed_shape(size_out: usize, size_in: usize) -> Vec<usize>;

    /// Makes `activations` of `x`, `[_, size_in]`; neither dimension is 0.
    fn prepare<P: ThreadPool>(
        self,
        pool: &P,
        x: &[f32],
        size_in: usize,
        activations: &mut Self::Activations,
    ) -> Result<(), P::Error>;

    /// Computes the outputs of these panels for all rows.
    ///
    /// # Safety
    ///
    /// No other thread writes the panels' columns of `y`, which is `[rows, size_out]`.
    unsafe fn apply(
        layer: &Layer<'_, Self>,
        activations: &Self::Activations,
        panels: Range<usize>,
        y: &Disjoint<'_, f32>,
    );
}

/// A format of tables: it can read single rows.
pub trait TableFormat: WeightFormat {
    /// Writes row `index` of a table to `y`, which is as long as the row.
    ///
    /// # Panics
    ///
    /// When the table has no such row.
    fn row(packed: &[Self::Element], columns: &[f32], index: usize, y: &mut [f32]);
}

/// A linear layer and its input.
#[derive(Clone, Copy)]
pub struct Layer<'a, F: WeightFormat> {
    /// What varies among layers of the format.
    pub format: F,
    /// `[rows, size_in]`
    pub x: &'a [f32],
    /// Rows of `x`.
    pub rows: usize,
    /// The weights, of the format's [`packed_shape`](WeightFormat::packed_shape).
    pub packed: &'a [F::Element],
    /// `[COLUMNS, padded size_out]`
    pub columns: &'a [f32],
    /// `[size_out]`
    pub bias: Option<&'a [f32]>,
    /// Inputs, padding excluded.
    pub size_in: usize,
    /// Outputs, padding excluded.
    pub size_out: usize,
    /// Applied to every output.
    pub activation: Activation,
}

/// Panels that one thread takes at a time: whole tiles of four panels or of three, where there are
/// many.
const fn panels_per_part(panels: usize) -> usize {
    match panels {
        192.. => 12,
        _ => 8,
    }
}

impl<F: WeightFormat> Layer<'_, F> {
    /// `activation(x · weightsᵀ + bias)`, written to `y`, `[rows, size_out]`. `activations` is
    /// memory that layers which run one after another can share.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the sizes say.
    pub fn multiply<P: ThreadPool>(
        &self,
        pool: &P,
        activations: &mut F::Activations,
        y: &mut [f32],
    ) -> Result<(), P::Error> {
        if y.is_empty() || self.size_in == 0 {
            y.fill(0.0);
            return Ok(());
        }
        self.format.prepare(pool, self.x, self.size_in, activations)?;
        let activations = &*activations;
        let y = Disjoint::new(y);
        let multiplications = self.rows * self.size_in * self.size_out;
        let panels = panels(self.size_out);
        share(pool, panels, panels_per_part(panels), multiplications, |panels| {
            // SAFETY: the one thread that has a panel writes its columns.
            unsafe { F::apply(self, activations, panels, &y) };
        })
    }

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
