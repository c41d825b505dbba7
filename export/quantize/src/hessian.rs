//! Hessians of linear layers for GPTQ: `Xᵀ · X`, with all inputs `X` of a matrix.

use epitome_kernels::panels::PANEL;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};

use crate::product::{multiply, pack};

/// Rows that one product adds.
const ROWS: usize = 256;
/// Rows of the sum that one thread updates at a time: whole panels.
const PART: usize = 4 * PANEL;

/// `Xᵀ · X` of one tensor. Only the upper half of the symmetric matrix is kept.
#[derive(Debug, PartialEq)]
pub struct Hessian {
    size: usize,
    /// Number of rows that were added.
    rows: usize,
    /// The sum in parts of [`PART`] rows, which begin at the diagonal of their first row.
    parts: Vec<Vec<f32>>,
    /// Rows that are not added yet.
    waiting: Vec<f32>,
}

impl Hessian {
    /// A sum of zero rows of `size`.
    pub fn new(size: usize) -> Self {
        let parts = (0..size).step_by(PART).map(|first| vec![0.0; PART * (size - first)]);
        Self { size, rows: 0, parts: parts.collect(), waiting: Vec::new() }
    }

    /// Size in bytes of a sum for rows of `size`.
    pub fn bytes(size: usize) -> u64 {
        let parts: usize = (0..size).step_by(PART).map(|first| PART * (size - first)).sum();
        ((parts + ROWS * size) * size_of::<f32>()) as u64
    }

    /// Number of columns of a row.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Number of rows that were added.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds rows. Their division into calls does not change the result.
    pub fn add(&mut self, mut rows: &[f32]) {
        let max = ROWS * self.size;
        self.rows += rows.len() / self.size;
        while !rows.is_empty() {
            let (now, later) = rows.split_at(rows.len().min(max - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            rows = later;
            if self.waiting.len() == max {
                self.flush();
            }
        }
    }

    /// Adds the waiting rows.
    pub fn flush(&mut self) {
        let (size, rows) = (self.size, self.waiting.len() / self.size);
        let value = |row: usize, column: usize| self.waiting[row * size + column];
        let packed = pack([rows, size], value);
        self.parts.par_iter_mut().enumerate().for_each(|(index, part)| {
            let first = index * PART;
            let columns: Vec<f32> = (first..first + PART)
                .flat_map(|column| (0..rows).map(move |row| (row, column)))
                .map(|(row, column)| if column < size { value(row, column) } else { 0.0 })
                .collect();
            let sizes = [PART, rows, size - first];
            let products = multiply(&columns, &packed[first * rows..], sizes);
            part.iter_mut().zip(&products).for_each(|(sum, product)| *sum += product);
        });
        self.waiting.clear();
    }

    /// Adds the sum, without the waiting rows, to the upper half of a matrix with rows of `stride`.
    pub fn add_to(&self, matrix: &mut [f32], stride: usize) {
        for (index, part) in self.parts.iter().enumerate() {
            let first = index * PART;
            for (row, sums) in part.chunks_exact(self.size - first).enumerate() {
                let row = first + row;
                if row < self.size {
                    let of_row = &mut matrix[row * stride..][row..self.size];
                    let sums = &sums[row - first..];
                    of_row.iter_mut().zip(sums).for_each(|(value, sum)| *value += sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_all_pairs_of_columns() {
        for (size, rows) in [(5, 3), (70, 300), (130, 257)] {
            let values: Vec<f32> =
                (0..size * rows).map(|index| ((index * 37) % 19) as f32 - 9.0).collect();
            let mut hessian = Hessian::new(size);
            for part in values.chunks(7 * size) {
                hessian.add(part);
            }
            hessian.flush();
            assert_eq!(hessian.rows(), rows);
            let stride = size + 3;
            let mut matrix = vec![0.0; stride * size];
            hessian.add_to(&mut matrix, stride);
            for row in 0..size {
                for column in 0..stride {
                    let products =
                        values.chunks(size).map(|x| x[row] * x.get(column).unwrap_or(&0.0));
                    let expected = if column < row { 0.0 } else { products.sum::<f32>() };
                    assert_eq!(matrix[row * stride + column], expected, "{row}, {column}");
                }
            }
        }
    }
}
