//! A linear layer and an embedding over packed weights of any format.

use std::fmt::Debug;
use std::ops::Range;

use crate::activation::Activation;
use crate::panels::{PANEL, panels};
use crate::parallel::{Disjoint, ThreadPool, parallel_for};

/// A format of packed weights: how a matrix of `[size_out, size_in]` is packed in panels of
/// outputs, and how it is multiplied. A value of the type holds the settings of a layer.
pub trait WeightFormat: Copy + Debug + PartialEq + Send + Sync + 'static {
    /// Number of float32 values that each output has in [`Layer::columns`].
    const COLUMNS: usize;
    /// Element type of the packed tensor.
    type Element: Copy + Debug + Sync + 'static;
    /// The activations in the form that the product reads.
    type Activations: Default + Send + Sync + 'static;

    /// Shape of the packed tensor.
    fn packed_shape(size_out: usize, size_in: usize) -> Vec<usize>;

    /// Converts `x`, `[rows, size_in]`, to `activations`. `sizes` are `[size_in, size_out]` of the
    /// layers. `x` is not empty.
    fn prepare<P: ThreadPool>(
        self,
        pool: &P,
        x: &[f32],
        sizes: [usize; 2],
        activations: &mut Self::Activations,
    ) -> Result<(), P::Error>;

    /// Computes the outputs of these panels for all rows, at least one, and writes them to `y`,
    /// `[rows, size_out]`.
    ///
    /// # Safety
    ///
    /// No other thread writes the panels' columns of `y`.
    unsafe fn apply(
        layer: &Layer<'_, Self>,
        activations: &Self::Activations,
        panels: Range<usize>,
        y: &Disjoint<'_, f32>,
    );
}

/// A format of packed weights from which single rows can be read, as an embedding does.
pub trait TableFormat: WeightFormat {
    /// Writes row `index` of a table to `y`, whose length is that of a row.
    ///
    /// # Panics
    ///
    /// When the table has no such row.
    fn row(packed: &[Self::Element], columns: &[f32], index: usize, y: &mut [f32]);
}

/// A linear layer and its input.
#[derive(Clone, Copy)]
pub struct Layer<'a, F: WeightFormat> {
    /// Format of the weights, with the settings of the layer.
    pub format: F,
    /// Input: `[rows, size_in]`.
    pub x: &'a [f32],
    /// Rows of `x`.
    pub rows: usize,
    /// Packed weights, of the format's [`packed_shape`](WeightFormat::packed_shape).
    pub packed: &'a [F::Element],
    /// Further values of each output, such as its scale: `[COLUMNS, padded size_out]`.
    pub columns: &'a [f32],
    /// Bias: `[size_out]`.
    pub bias: Option<&'a [f32]>,
    /// Inputs, padding excluded.
    pub size_in: usize,
    /// Outputs, padding excluded.
    pub size_out: usize,
    /// Activation function of the outputs.
    pub activation: Activation,
}

/// Rows from which on a task of few panels takes long enough.
const MANY_ROWS: usize = 64;

/// Panels of a task of a layer with `rows` rows and `panels` panels. They are whole tiles of one,
/// two or four panels. With many rows, tasks are small, so that all threads end at about the same
/// time.
const fn panels_per_task(rows: usize, panels: usize) -> usize {
    match (rows, panels) {
        (MANY_ROWS.., _) => 4,
        (_, 192..) => 12,
        _ => 8,
    }
}

/// Multiplies layers of the same sizes with one input, as [`Layer::multiply`] does with a single
/// layer. The input is prepared once. Each layer writes its own `y`.
///
/// # Panics
///
/// When a slice is shorter than the sizes say, or the sizes or formats differ.
pub fn multiply_all<F: WeightFormat, P: ThreadPool>(
    pool: &P,
    layers: &[Layer<'_, F>],
    activations: &mut F::Activations,
    ys: &mut [&mut [f32]],
) -> Result<(), P::Error> {
    let Some(&Layer { format, x, rows, size_in, size_out, .. }) = layers.first() else {
        return Ok(());
    };
    let fits = |layer: &Layer<'_, F>| {
        std::ptr::eq(layer.x, x)
            && layer.format == format
            && (layer.rows, layer.size_in, layer.size_out) == (rows, size_in, size_out)
    };
    assert!(layers.len() == ys.len() && layers.iter().all(fits), "layers of one input");
    if rows * size_in * size_out == 0 {
        ys.iter_mut().for_each(|y| y.fill(0.0));
        return Ok(());
    }
    format.prepare(pool, x, [size_in, size_out], activations)?;
    let activations = &*activations;
    let ys: Vec<_> = ys.iter_mut().map(|y| Disjoint::new(y)).collect();
    let panels = panels(size_out);
    let per_task = panels_per_task(rows, panels);
    let tasks = panels.div_ceil(per_task);
    let multiplications = layers.len() * rows * size_in * size_out;
    // The tasks of a layer follow those of the layer before.
    parallel_for(pool, layers.len() * tasks, 1, multiplications, |range| {
        for (index, (layer, y)) in layers.iter().zip(&ys).enumerate() {
            // The number of a task within this layer, limited to `0..=tasks`.
            let in_layer = |task: usize| task.saturating_sub(index * tasks).min(tasks);
            let first = in_layer(range.start) * per_task;
            let end = (in_layer(range.end) * per_task).min(panels);
            if first < end {
                // SAFETY: the ranges of two calls have no task in common, so within a layer they
                // have no panel in common, and each layer has its own `y`.
                unsafe { F::apply(layer, activations, first..end, y) };
            }
        }
    })
}

impl<F: WeightFormat> Layer<'_, F> {
    /// Computes `activation(x · weightsᵀ + bias)` and writes it to `y`, `[rows, size_out]`.
    /// `activations` is scratch memory that successive layers can share.
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
        multiply_all(pool, std::slice::from_ref(self), activations, &mut [y])
    }

    /// Number of outputs of a panel without padding, and the bias of the panel, padded with zeros.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::float::Fp32;
    use crate::int4::Int4;
    use crate::int8::Int8;
    use crate::parallel::SingleThread;
    use crate::parallel::tests::Threads;

    /// Checks three layers of one input, with different weights, columns and biases.
    fn check<F: WeightFormat>(format: F, element: impl Fn(usize) -> F::Element)
    where
        F::Activations: Default,
    {
        let small =
            [(1, 10, 5), (3, 64, 300), (40, 90, 150), (0, 4, 4), (2, 32, 3100), (1030, 8, 20)];
        let large = [2, 10, 30, 70].map(|rows| (rows, 512, 530));
        for (rows, size_in, size_out) in small.into_iter().chain(large) {
            let x: Vec<f32> = (0..rows * size_in).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
            let numbers = |count: usize, salt: usize| -> Vec<f32> {
                (0..count).map(|i| ((i * 13 + salt * 7) % 31) as f32 / 100.0).collect()
            };
            let size = F::packed_shape(size_out, size_in).into_iter().product();
            let parts = [1, 2, 3].map(|salt| {
                let packed: Vec<_> = (0..size).map(|index| element(index * 7 + salt)).collect();
                let columns = numbers(F::COLUMNS * panels(size_out) * PANEL, salt);
                (packed, columns, numbers(size_out, salt + 3))
            });
            let layers = parts.each_ref().map(|(packed, columns, bias)| Layer {
                format,
                x: &x,
                rows,
                packed,
                columns,
                bias: Some(bias),
                size_in,
                size_out,
                activation: Activation::Identity,
            });
            let mut activations = F::Activations::default();
            let alone = layers.map(|layer| {
                let mut alone = vec![f32::NAN; rows * size_out];
                let Ok(()) = layer.multiply(&SingleThread, &mut activations, &mut alone);
                alone
            });
            assert!(alone.iter().flatten().all(|value| value.is_finite()));
            assert!(rows == 0 || alone[0] != alone[1] && alone[1] != alone[2]);
            for (row, x) in x.chunks(size_in).enumerate() {
                let layer = Layer { x, rows: 1, ..layers[0] };
                let mut single = vec![f32::NAN; size_out];
                let Ok(()) = layer.multiply(&SingleThread, &mut activations, &mut single);
                assert_eq!(single, alone[0][row * size_out..][..size_out], "row {row} of {rows}");
            }
            let mut together = vec![vec![f32::NAN; rows * size_out]; 3];
            let mut ys: Vec<_> = together.iter_mut().map(|y| &mut y[..]).collect();
            let Ok(()) = multiply_all(&SingleThread, &layers, &mut activations, &mut ys);
            assert_eq!(together, alone);
            together.iter_mut().for_each(|y| y.fill(f32::NAN));
            let mut ys: Vec<_> = together.iter_mut().map(|y| &mut y[..]).collect();
            let Ok(()) = multiply_all(&Threads, &layers, &mut activations, &mut ys);
            assert_eq!(together, alone);
        }
    }

    #[test]
    fn layers_together_equal_single_layers() {
        check(Int8::new(7), |index| (index % 11) as i8 - 5);
        check(Fp32::default(), |index| (index % 11) as f32 - 5.0);
        // Bytes below 0x3c are small numbers, also as the upper bytes of float16 scales.
        check(Int4::new(7), |index| (index % 0x3c) as u8);
    }
}
