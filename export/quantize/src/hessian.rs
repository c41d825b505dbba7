//! Sums of what a matrix was multiplied with: `Xᵀ · X` of all rows `X` that it read.

use epitome_kernels::panels::PANEL;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};

use crate::product::{multiply, pack};

/// Rows that are multiplied together.
const ROWS: usize = 256;
/// Rows of a sum that one thread adds to at a time: whole panels.
const PART: usize = 4 * PANEL;

/// The sum for one input. Of a symmetric matrix it keeps the upper half.
#[derive(Debug, PartialEq)]
pub struct Hessian {
    size: usize,
    /// How many rows were added.
    rows: usize,
    /// [`PART`] rows each, from their first column of the diagonal on.
    parts: Vec<Vec<f32>>,
    /// Rows that are not added yet.
    waiting: Vec<f32>,
}

impl Hessian {
    /// The sum of no rows of `size`.
    pub fn new(size: usize) -> Self {
        let parts = (0..size).step_by(PART).map(|first| vec![0.0; PART * (size - first)]);
        Self { size, rows: 0, parts: parts.collect(), waiting: Vec::new() }
    }

    /// Bytes of a sum for rows of `size`.
    pub fn bytes(size: usize) -> u64 {
        let parts: usize = (0..size).step_by(PART).map(|first| PART * (size - first)).sum();
        ((parts + ROWS * size) * size_of::<f32>()) as u64
    }

    /// Columns of a row.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many rows were added.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds rows. Which of them come together changes nothing.
    pub fn add(&mut self, mut rows: &[f32]) {
        let most = ROWS * self.size;
        self.rows += rows.len() / self.size;
        while !rows.is_empty() {
            let (now, later) = rows.split_at(rows.len().min(most - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            rows = later;
            if self.waiting.len() == most {
                self.flush();
            }
        }
    }

    /// Adds what waits.
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

    /// Adds the sum, without what waits, to the upper half of a matrix with rows of `stride`.
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
