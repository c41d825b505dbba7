//! A mixture of experts: feed-forward layers, of which each row uses a few.

use crate::feed_forward::{FeedForward, Inner, grow, rows_per_pass};
use crate::linear::WeightFormat;
use crate::parallel::ThreadPool;

/// Some rows and their routing weights. The result of a row is the sum of
/// `routing_weight * expert(row)` over its experts, in the order of the experts. The weights of an
/// expert that no row uses are not read.
#[derive(Clone, Copy)]
pub struct Experts<'a> {
    /// Input: `[rows, size_in]`.
    pub x: &'a [f32],
    /// Factor for the result of each expert: `[rows, experts]`. It is 0 or less for experts that
    /// the row does not use. If it is NaN, so is the result.
    pub routing_weights: &'a [f32],
    /// Number of experts.
    pub count: usize,
    /// Columns of `x`.
    pub size_in: usize,
    /// Columns of the result.
    pub size_out: usize,
}

/// Scratch memory of [`Experts`]: the rows of an expert in one pass, their inputs and results.
#[derive(Debug, Default)]
pub struct Gathered {
    rows: Vec<usize>,
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Experts<'_> {
    /// Writes the result to `y`, `[rows, size_out]`. `expert` returns the layers of an expert,
    /// without their `x`. `activations`, `inner` and `gathered` are scratch memory that successive
    /// layers can share.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the sizes say.
    pub fn apply<'l, F: WeightFormat, P: ThreadPool>(
        &self,
        pool: &P,
        expert: impl Fn(usize) -> Result<FeedForward<'l, F>, P::Error>,
        (activations, inner, gathered): (&mut F::Activations, &mut Inner, &mut Gathered),
        y: &mut [f32],
    ) -> Result<(), P::Error> {
        let &Self { x, routing_weights, count, size_in, size_out } = self;
        y.fill(0.0);
        if size_in == 0 || size_out == 0 || count == 0 {
            return Ok(());
        }
        let Gathered { rows, x: inputs, y: results } = gathered;
        for number in 0..count {
            let weight = |row: usize| routing_weights[row * count + number];
            let has = |row: &usize| weight(*row) > 0.0 || weight(*row).is_nan();
            rows.clear();
            rows.extend((0..x.len() / size_in).filter(has));
            if rows.is_empty() {
                continue;
            }
            let layers = expert(number)?;
            for rows in rows.chunks(rows_per_pass(rows.len())) {
                inputs.clear();
                inputs.extend(rows.iter().flat_map(|row| &x[row * size_in..][..size_in]));
                grow(results, rows.len() * size_out);
                let results = &mut results[..rows.len() * size_out];
                let layers = FeedForward { x: inputs, ..layers };
                layers.apply(pool, activations, inner, results)?;
                for (&row, result) in rows.iter().zip(results.chunks(size_out)) {
                    let y = &mut y[row * size_out..][..size_out];
                    for (y, result) in y.iter_mut().zip(result) {
                        *y += result * weight(row);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::float::Fp32;
    use crate::linear::Layer;
    use crate::parallel::SingleThread;

    #[test]
    fn a_row_is_the_sum_of_its_experts_and_unused_experts_are_not_read() {
        let (rows, size_in, size_inner, size_out, count) = (1200, 10, 20, 7, 4);
        let number = |index: usize| ((index * 37) % 101) as f32 / 50.0 - 1.0;
        let x: Vec<f32> = (0..rows * size_in).map(number).collect();
        let weights = |expert: usize, size_out: usize, size_in: usize| -> Vec<f32> {
            let size: usize = Fp32::packed_shape(size_out, size_in).into_iter().product();
            (0..size).map(|index| number(index + expert)).collect()
        };
        let weights: Vec<_> = (0..count)
            .map(|expert| {
                (weights(expert, size_inner, size_in), weights(expert, size_out, size_inner))
            })
            .collect();
        fn layer(packed: &[f32], size_in: usize, size_out: usize) -> Layer<'_, Fp32> {
            let (format, activation) = (Fp32::default(), Activation::Relu);
            let (x, columns, bias) = (&[][..], &[][..], None);
            Layer { format, x, rows: 0, packed, columns, bias, size_in, size_out, activation }
        }
        let layers = |expert: usize| {
            let (up, down) = &weights[expert];
            let (up, down) = (layer(up, size_in, size_inner), layer(down, size_inner, size_out));
            FeedForward { x: &[], up, gate: None, down }
        };
        let run = |layers: FeedForward<'_, Fp32>, x: &[f32]| {
            let mut y = vec![0.0; x.len() / size_in * size_out];
            let (mut activations, mut inner) = Default::default();
            let done = FeedForward { x, ..layers }.apply(
                &SingleThread,
                &mut activations,
                &mut inner,
                &mut y,
            );
            assert!(done.is_ok());
            y
        };
        // No row uses the expert 2, most rows use two of the others, and every fifth uses none.
        let routing_weights: Vec<f32> = (0..rows * count)
            .map(|index| match (index / count, index % count) {
                (_, 2) => 0.0,
                (5, 1) => f32::NAN,
                (row, _) if row % 5 == 0 => -0.5,
                (row, expert) if row % 3 == expert % 3 => 0.0,
                (row, expert) => 0.1 + ((row + expert) % 7) as f32 / 10.0,
            })
            .collect();
        let mut expected = vec![0.0; rows * size_out];
        for expert in [0, 1, 3] {
            let results = run(layers(expert), &x);
            for (index, result) in results.iter().enumerate() {
                let (row, weight) = (index / size_out, index / size_out * count + expert);
                if row % 5 != 0 || row == 5 && expert == 1 {
                    expected[index] += result * routing_weights[weight];
                }
            }
        }
        let mut y = vec![f32::NAN; rows * size_out];
        let (mut activations, mut inner, mut gathered) = Default::default();
        let done = Experts { x: &x, routing_weights: &routing_weights, count, size_in, size_out }
            .apply(
                &SingleThread,
                |expert| {
                    assert_ne!(expert, 2, "no row uses it");
                    Ok(layers(expert))
                },
                (&mut activations, &mut inner, &mut gathered),
                &mut y,
            );
        assert!(done.is_ok());
        let rows = y.chunks(size_out).zip(expected.chunks(size_out)).enumerate();
        for (row, (y, expected)) in rows {
            match row {
                5 => assert!(y.iter().all(|value| value.is_nan())),
                _ => assert_eq!(y, expected),
            }
        }
    }
}
