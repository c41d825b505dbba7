//! The feed-forward block of a transformer layer, some rows at a time. The intermediate values are
//! larger than the input and the output, and so they stay in a cache.

use crate::linear::{Layer, WeightFormat};
use crate::parallel::{Disjoint, ThreadPool, parallel_for};

/// Rows of a pass, at most.
const MAX_ROWS: usize = 512;

/// A feed-forward block: `down(up(x))`, or `down(gate(x) * up(x))`. The `x` and `rows` of the
/// layers are ignored.
#[derive(Clone, Copy)]
pub struct FeedForward<'a, F: WeightFormat> {
    /// Input: `[rows, size_in]`.
    pub x: &'a [f32],
    /// Layer from the input to the intermediate values.
    pub up: Layer<'a, F>,
    /// Layer of a gated block, with the same sizes as `up`.
    pub gate: Option<Layer<'a, F>>,
    /// Layer from the intermediate values to the result.
    pub down: Layer<'a, F>,
}

/// Scratch memory of [`FeedForward`]: the intermediate values of one pass.
#[derive(Debug, Default)]
pub struct Inner {
    up: Vec<f32>,
    gate: Vec<f32>,
}

impl<F: WeightFormat> FeedForward<'_, F> {
    /// Writes the result to `y`, `[rows, size_out]`. `activations` and `inner` are scratch memory
    /// that successive layers can share.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the sizes say.
    pub fn apply<P: ThreadPool>(
        &self,
        pool: &P,
        activations: &mut F::Activations,
        inner: &mut Inner,
        y: &mut [f32],
    ) -> Result<(), P::Error> {
        let (size_in, size_inner, size_out) =
            (self.up.size_in, self.up.size_out, self.down.size_out);
        if size_in == 0 || size_out == 0 {
            return Ok(());
        }
        let rows = self.x.len() / size_in;
        let step = rows_per_pass(rows);
        let Inner { up: inner, gate: gates } = inner;
        grow(inner, step * size_inner);
        for (x, y) in self.x.chunks(step * size_in).zip(y.chunks_mut(step * size_out)) {
            let rows = x.len() / size_in;
            let inner = &mut inner[..rows * size_inner];
            Layer { x, rows, ..self.up }.multiply(pool, activations, inner)?;
            if let Some(gate) = self.gate {
                grow(gates, step * size_inner);
                let gates = &mut gates[..rows * size_inner];
                Layer { x, rows, ..gate }.multiply(pool, activations, gates)?;
                let (up, gates) = (Disjoint::new(&mut *inner), &*gates);
                parallel_for(pool, rows, 16, rows * size_inner, |rows| {
                    let range = rows.start * size_inner..rows.end * size_inner;
                    // SAFETY: only this task writes these rows.
                    let up = unsafe { up.part(range.clone()) };
                    for (up, gate) in up.iter_mut().zip(&gates[range]) {
                        *up *= gate;
                    }
                })?;
            }
            Layer { x: inner, rows, ..self.down }.multiply(pool, activations, y)?;
        }
        Ok(())
    }
}

/// Rows of a pass over `rows` rows. There are few passes of about the same length, since each reads
/// the weights.
pub(crate) fn rows_per_pass(rows: usize) -> usize {
    rows.div_ceil(rows.div_ceil(MAX_ROWS).max(1)).max(1)
}

/// Extends `values` to at least `count` values.
pub(crate) fn grow(values: &mut Vec<f32>, count: usize) {
    if values.len() < count {
        values.resize(count, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::int8::Int8;
    use crate::panels::{PANEL, panels};
    use crate::parallel::SingleThread;

    #[test]
    fn rows_equal_those_of_successive_layers() {
        let (rows, size_in, size_inner) = (2 * MAX_ROWS + 7, 10, 20);
        let number = |index: usize| ((index * 37) % 101) as f32 / 50.0 - 1.0;
        let x: Vec<f32> = (0..rows * size_in).map(number).collect();
        let weights = |size_out: usize, size_in: usize, salt: usize| {
            let count = Int8::packed_shape(size_out, size_in).into_iter().product();
            let packed: Vec<i8> = (0..count).map(|i| ((i * 7 + salt) % 11) as i8 - 5).collect();
            (packed, vec![0.01; 2 * panels(size_out) * PANEL])
        };
        let [up, gate] = [1, 2].map(|salt| weights(size_inner, size_in, salt));
        let down = weights(size_in, size_inner, 3);
        fn layer<'a>(
            (packed, columns): &'a (Vec<i8>, Vec<f32>),
            [size_in, size_out]: [usize; 2],
            activation: Activation,
        ) -> Layer<'a, Int8> {
            let format = Int8::new(7);
            let (bias, x) = (None, &[][..]);
            Layer { format, x, rows: 0, packed, columns, bias, size_in, size_out, activation }
        }
        let inward = [size_in, size_inner];
        let up = layer(&up, inward, Activation::Identity);
        let gate = layer(&gate, inward, Activation::Gelu);
        let down = layer(&down, [size_inner, size_in], Activation::Identity);
        for gate in [None, Some(gate)] {
            let mut activations = Default::default();
            let mut multiply = |layer: Layer<'_, Int8>, x: &[f32]| {
                let mut y = vec![0.0; rows * layer.size_out];
                let layer = Layer { x, rows, ..layer };
                assert!(layer.multiply(&SingleThread, &mut activations, &mut y).is_ok());
                y
            };
            let mut inner = multiply(up, &x);
            if let Some(gate) = gate {
                let gates = multiply(gate, &x);
                inner.iter_mut().zip(&gates).for_each(|(inner, gate)| *inner *= gate);
            }
            let expected = multiply(down, &inner);
            let mut y = vec![0.0; rows * size_in];
            let (mut activations, mut inner) = Default::default();
            let feed_forward = FeedForward { x: &x, up, gate, down };
            let done = feed_forward.apply(&SingleThread, &mut activations, &mut inner, &mut y);
            assert!(done.is_ok());
            assert_eq!(y, expected);
        }
    }
}
