//! Cholesky factor of a symmetric matrix.

use epitome_kernels::panels::PANEL;
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::product::{multiply, pack};

/// Columns that are factored together: whole panels.
const BLOCK: usize = 4 * PANEL;

/// Replaces the upper half of a symmetric matrix, `[size, size]`, with the upper triangular `R` of
/// `R · Rᵀ = matrix`. This is Cholesky's factorization from the last column on. The lower half
/// is neither read nor written. `size` is a multiple of [`PANEL`].
///
/// Returns false if the matrix is not positive definite in float32.
pub(super) fn factor(matrix: &mut [f32], size: usize) -> bool {
    assert!(size.is_multiple_of(PANEL) && matrix.len() == size * size);
    let starts: Vec<usize> = (0..size).step_by(BLOCK).collect();
    for &start in starts.iter().rev() {
        let width = BLOCK.min(size - start);
        if !factor_diagonal(&mut matrix[start * size + start..], size, width) {
            return false;
        }
        let (above, rest) = matrix.split_at_mut(start * size);
        let triangle: Vec<&[f32]> =
            (0..width).map(|row| &rest[row * size + start..][..width]).collect();
        above.par_chunks_exact_mut(size).for_each(|row| {
            solve(&mut row[start..][..width], &triangle);
        });
        subtract_products(above, size, start, width);
    }
    true
}

/// Factors a block on the diagonal.
fn factor_diagonal(block: &mut [f32], stride: usize, width: usize) -> bool {
    for column in (0..width).rev() {
        for row in (0..=column).rev() {
            let products = (column + 1..width).map(|at| {
                f64::from(block[row * stride + at]) * f64::from(block[column * stride + at])
            });
            let left = f64::from(block[row * stride + column]) - products.sum::<f64>();
            let diagonal = f64::from(block[column * stride + column]);
            block[row * stride + column] = match row == column {
                true if left > 0.0 && left.is_finite() => left.sqrt() as f32,
                true => return false,
                false => (left / diagonal) as f32,
            };
        }
    }
    true
}

/// Solves `x · triangleᵀ = row` in place.
fn solve(row: &mut [f32], triangle: &[&[f32]]) {
    for column in (0..row.len()).rev() {
        let value = row[column] / triangle[column][column];
        row[column] = value;
        for (at, left) in row[..column].iter_mut().enumerate() {
            *left -= value * triangle[at][column];
        }
    }
}

/// Subtracts the products of the columns from `start` on from the upper half of the rows above.
fn subtract_products(above: &mut [f32], size: usize, start: usize, width: usize) {
    let columns = start..start + width;
    let x: Vec<f32> =
        above.chunks_exact(size).flat_map(|row| &row[columns.clone()]).copied().collect();
    let packed = pack([width, start], |at, row| x[row * width + at]);
    above.par_chunks_mut(BLOCK * size).enumerate().for_each(|(index, rows)| {
        let first = index * BLOCK;
        let sizes = [rows.len() / size, width, start - first];
        let products = multiply(&x[first * width..], &packed[first * width..], sizes);
        for (row, products) in rows.chunks_exact_mut(size).zip(products.chunks(start - first)) {
            row[first..start]
                .iter_mut()
                .zip(products)
                .for_each(|(value, product)| *value -= product);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_times_itself_is_the_matrix() {
        for size in [16, 48, 64, 144, 208] {
            let x = |row: usize, column: usize| ((row * 31 + column * 17) % 23) as f32 / 11.0 - 1.0;
            let mut matrix = vec![0.0; size * size];
            for row in 0..size {
                for column in 0..size {
                    let products = (0..size).map(|at| x(at, row) * x(at, column));
                    let diagonal = if row == column { 5.0 } else { 0.0 };
                    matrix[row * size + column] = products.sum::<f32>() + diagonal;
                }
            }
            let expected = matrix.clone();
            assert!(factor(&mut matrix, size));
            for row in 0..size {
                for column in row..size {
                    let products = (column..size)
                        .map(|at| matrix[row * size + at] * matrix[column * size + at]);
                    let (found, expected) = (products.sum::<f32>(), expected[row * size + column]);
                    assert!(
                        (found - expected).abs() < 1e-3 * size as f32,
                        "{size}: {row}, {column}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_matrix_that_is_not_positive_definite_has_none() {
        let mut matrix = vec![1.0; 16 * 16];
        assert!(!factor(&mut matrix, 16));
    }
}
